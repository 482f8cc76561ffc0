"""How a trial's reports travel: as Prometheus text while it runs, and as its termination message when it ends.

A Prometheus gauge shows only the latest value, so a scrape that comes late would miss steps. Each recent report is
therefore also a comment line, `# PODIUM {...}`: Prometheus skips it, the operator reads it, and no label grows with the
steps.
"""

import json
from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from podium_contract.model import number_to_json
from podium_contract.observation import Observation

REPORT_PREFIX = "# PODIUM "
MESSAGE_HEADING = "# PODIUM"
"""The first line of a termination message of ours. Kubernetes may put a log's last lines into the place of one that was not
written, and what a program printed is no report."""
ERROR_PREFIX = "error: "
"""Begins the line of a termination message that says what went wrong."""
TERMINATION_MESSAGE_LIMIT = 4096
"""Bytes that Kubernetes keeps of a container's termination message."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def report_line(observation: Observation) -> str:
    """Return one report as compact JSON: {"a":attempt,"n":sequence,"s":step,"m":{metric:value},"t":seconds}."""
    fields: dict[str, object] = {"a": observation.attempt, "n": observation.sequence, "s": observation.step}
    fields["m"] = {name: number_to_json(value) for name, value in observation.metrics.items()}
    if observation.seconds is not None:
        fields["t"] = round(observation.seconds, 3)
    return json.dumps(fields, separators=(",", ":"), allow_nan=False)


def parse_report_line(text: str) -> Observation:
    """Return the report of one line; ValueError when it is none."""
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError(f"a report is a JSON object, got {text[:40]!r}")  # noqa: TRY004  (one error type for the caller)
    try:
        return Observation(
            attempt=fields["a"], sequence=fields["n"], step=fields["s"], metrics=fields["m"], seconds=fields.get("t")
        )
    except (KeyError, ValidationError) as fault:
        raise ValueError(f"not a report: {fault}") from None


def metrics_page(observations: Sequence[Observation], labels: dict[str, str]) -> str:
    """Return the page that the trial's endpoint serves: the latest values as gauges, then every recent report."""
    lines = []
    if observations:
        latest = observations[-1]
        lines += [
            "# HELP podium_trial_metric Latest value that the trial reported, by metric.",
            "# TYPE podium_trial_metric gauge",
            *(
                f"podium_trial_metric{_labels({**labels, 'metric': name})} {_prometheus_number(value)}"
                for name, value in latest.metrics.items()
            ),
            "# HELP podium_trial_step Step of the latest report.",
            "# TYPE podium_trial_step gauge",
            f"podium_trial_step{_labels(labels)} {latest.step}",
        ]
    lines += [REPORT_PREFIX + report_line(observation) for observation in observations]
    return "\n".join(lines) + "\n"


def parse_metrics_page(page: str) -> list[Observation]:
    """Return the reports of a page in the order in which they were made; lines that are no reports are skipped."""
    return _parse_lines(line[len(REPORT_PREFIX) :] for line in page.splitlines() if line.startswith(REPORT_PREFIX))


def termination_message(observations: Sequence[Observation], error: str = "") -> str:
    """Return the latest reports, oldest first, as many as fit into Kubernetes' limit, then what went wrong.

    Empty when there is nothing to say, so that the log's last lines may.
    """
    ending = [f"{ERROR_PREFIX}{error}"] if error else []
    room = TERMINATION_MESSAGE_LIMIT - sum(len(line.encode()) + 1 for line in (MESSAGE_HEADING, *ending))
    lines: list[str] = []
    for observation in reversed(observations):
        line = report_line(observation)
        room -= len(line.encode()) + 1
        if room < 0:
            break
        lines.append(line)
    return "\n".join([MESSAGE_HEADING, *reversed(lines), *ending]) if lines or ending else ""


def parse_termination_message(message: str) -> list[Observation]:
    """Return the reports of a termination message of ours; a line that is none is skipped."""
    return _parse_lines(_own_lines(message) or ())


def last_words_in(message: str) -> str:
    """Return what an ended run has to say for itself: its error, in a message of ours; else the text's last line.

    A line of JSON is no sentence. Empty when there is nothing.
    """
    own = _own_lines(message)
    if own is not None:
        errors = [line.removeprefix(ERROR_PREFIX) for line in own if line.startswith(ERROR_PREFIX)]
        return errors[-1] if errors else ""
    lines = [line.strip() for line in message.splitlines()]
    return next((line for line in reversed(lines) if line and not line.startswith("{")), "")


def _own_lines(message: str) -> list[str] | None:
    """Return the lines below the heading; None when the message is none of ours."""
    heading, *lines = message.splitlines() or [""]
    return lines if heading == MESSAGE_HEADING else None


def _parse_lines(lines: Iterable[str]) -> list[Observation]:
    reports = []
    for line in lines:
        try:
            reports.append(parse_report_line(line))
        except (ValueError, RecursionError):
            continue  # a user's own text, a line cut off at the limit, or brackets without end
    return reports


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _prometheus_number(value: float) -> str:
    text = number_to_json(value)
    return {"Infinity": "+Inf", "-Infinity": "-Inf"}.get(text, text) if isinstance(text, str) else repr(text)
