"""What `podium run` shows: the live screen, and the podium at the end. Pure: state in, renderable out."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from podium_contract.experiment import Experiment, ExperimentSpec, ExperimentStatus, Objective, Standing
from podium_contract.lifecycle import Phase
from podium_contract.template import value_text
from podium_operator.core.actions import Announce

_PHASE_STYLES = {
    Phase.RUNNING: "bold green",
    Phase.PENDING: "yellow",
    Phase.PAUSED: "cyan",
    Phase.SUCCEEDED: "green",
    Phase.PRUNED: "blue",
    Phase.KILLED: "magenta",
    Phase.FAILED: "bold red",
}
_BLOCKS = "▁▂▃▄▅▆▇█"
_CURVE_WIDTH = 40
_MEDALS = ("1st", "2nd", "3rd")


@dataclass
class RunView:
    """What the screen needs to know beyond the experiment's status."""

    started: datetime
    trials_before: int = 0
    """Trials that earlier sessions had made, so that the time left is judged by this session alone."""
    curve: list[float] = field(default_factory=list)
    """The best value after each improvement and each new trial."""
    events: deque[str] = field(default_factory=lambda: deque(maxlen=6))
    fault: str = ""
    """What keeps the experiment from going on just now."""
    stopping: bool = False

    def note(self, announcement: Announce) -> None:
        self.events.append(event_line(announcement))

    def follow(self, status: ExperimentStatus) -> None:
        """Extend the curve by what a new status says."""
        if status.best_value is not None and (not self.curve or self.curve[-1] != status.best_value):
            self.curve.append(status.best_value)


def event_line(announcement: Announce) -> str:
    """Return an announcement as one line of text."""
    subject = "experiment" if announcement.number is None else f"trial {announcement.number}"
    return f"{subject}: {announcement.reason}: {announcement.message}" if announcement.message else subject


def screen(experiment: Experiment, view: RunView, now: datetime) -> RenderableType:
    """Return the live screen."""
    spec, status = experiment.spec, experiment.status
    parts: list[RenderableType] = [_trials_line(status), _progress(spec, status, view, now)]
    if status.rungs:
        parts += [Text(), _ladder(spec, status)]
    parts += [Text(), _best_so_far(spec, status, view), Text()]
    parts += [Text(line, style="dim", overflow="ellipsis", no_wrap=True) for line in view.events]
    if view.fault:
        parts.append(Text(view.fault, style="bold red"))
    if view.stopping:
        parts.append(Text("stopping: trials write their checkpoints (Ctrl-C again to kill them)", style="bold yellow"))
    return Panel(Group(*parts), title=_title(experiment), border_style="dim", padding=(0, 1))


def podium(experiment: Experiment, results_folder: str, seconds: float) -> RenderableType:
    """Return the closing screen: the winners, what they cost, and where everything is."""
    spec, status = experiment.spec, experiment.status
    parts: list[RenderableType] = []
    if status.best:
        parts += [_standings(spec, status.best), Text()]
    else:
        parts += [Text("No trial gave a usable result.", style="bold red"), Text()]
    parts.append(_trials_line(status))
    parts += [Text(line) for line in _spending(spec, status, seconds)]
    ending = next((c for c in status.conditions if c.type in ("Complete", "Failed") and c.status == "True"), None)
    if ending is not None:
        parts.append(Text(f"ended: {ending.reason}: {ending.message}"))
    parts.append(Text(f"results: {results_folder}   (draw them: podium report {results_folder})"))
    title = (
        f"{experiment.metadata.name}: the podium"
        if len(spec.objectives) == 1
        else f"{experiment.metadata.name}: the Pareto front"
    )
    return Panel(Group(*parts), title=title, border_style="green" if status.best else "red", padding=(0, 1))


# --- parts ----------------------------------------------------------------------------------------------------


def _title(experiment: Experiment) -> str:
    spec = experiment.spec
    how = (
        spec.search.algorithm
        if spec.scheduler.algorithm == "none"
        else f"{spec.search.algorithm} × {spec.scheduler.algorithm}"
    )
    return f"{experiment.metadata.name} · {how} · {spec.parallelism} at a time"


def _trials_line(status: ExperimentStatus) -> Text:
    counts = status.trials
    line = Text("trials  ")
    for phase in Phase:
        count = getattr(counts, phase.lower())
        if count:
            line.append(f"{count} {phase.lower()}  ", style=_PHASE_STYLES[phase])
    return line


def _progress(spec: ExperimentSpec, status: ExperimentStatus, view: RunView, now: datetime) -> RenderableType:
    made = status.trials.total
    grid = Table.grid(padding=(0, 1))
    steps = f"{status.cost.steps} {spec.scheduler.resource}s" if status.cost.steps else ""
    grid.add_row(
        "budget",
        ProgressBar(total=spec.max_trials, completed=made, width=_CURVE_WIDTH),
        f"{made}/{spec.max_trials} trials  {steps}",
    )
    grid.add_row("time", Text(_duration(now - view.started)), Text(_time_left(spec, status, view, now), style="dim"))
    return grid


def _time_left(spec: ExperimentSpec, status: ExperimentStatus, view: RunView, now: datetime) -> str:
    counts = status.trials
    done = counts.total - counts.running - counts.pending - view.trials_before
    remaining = spec.max_trials - view.trials_before - done
    if done < 3 or remaining <= 0:
        return ""
    left = (now - view.started) * (remaining / done)
    if spec.active_deadline_seconds is not None and status.start_time is not None:
        left = min(left, status.start_time + timedelta(seconds=spec.active_deadline_seconds) - now)
    return f"about {_duration(max(left, timedelta()))} left"


def _ladder(spec: ExperimentSpec, status: ExperimentStatus) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("rung", justify="right")
    for heading in ("on the way", "reached", "promoted"):
        table.add_column(heading, justify="right")
    table.add_column()
    widest = max((rung.reached for rung in status.rungs), default=0) or 1
    for rung in status.rungs:
        bar = ProgressBar(total=widest, completed=rung.reached, width=20)
        label = f"{spec.scheduler.resource} {rung.budget}" + (f" (bracket {rung.bracket})" if rung.bracket else "")
        table.add_row(label, str(rung.running or ""), str(rung.reached or ""), str(rung.promoted or ""), bar)
    return table


def _best_so_far(spec: ExperimentSpec, status: ExperimentStatus, view: RunView) -> RenderableType:
    if not status.best:
        return Text("best    none yet", style="dim")
    best, objective = status.best[0], spec.objectives[0]
    line = Text("best    ")
    line.append(f"{objective.metric} = {_number(best.metrics.get(objective.metric))}", style="bold green")
    line.append(f"  trial {best.trial}" + (f" at {spec.scheduler.resource} {best.step}" if best.step else ""))
    parameters = Padding(Text(_assignment_text(best), style="dim", overflow="fold"), (0, 0, 0, 8))
    return Group(line, parameters, Text(f"        {sparkline(view.curve)}", style="green"))


def sparkline(values: Sequence[float], width: int = _CURVE_WIDTH) -> str:
    """Return the values as a row of blocks, lowest to highest, thinned to the width."""
    if not values:
        return ""
    if len(values) > width:
        values = [values[index * (len(values) - 1) // (width - 1)] for index in range(width)]
    size = max(map(abs, values)) or 1.0
    shares = [value / size for value in values]  # whose differences do not overflow
    low, extent = min(shares), max(shares) - min(shares)
    if not extent:
        return _BLOCKS[0] * len(values)
    return "".join(_BLOCKS[round((share - low) / extent * (len(_BLOCKS) - 1))] for share in shares)


def _standings(spec: ExperimentSpec, best: Iterable[Standing]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    table.add_column("trial", justify="right")
    for objective in spec.objectives:
        table.add_column(_heading(objective), justify="right", style="bold green")
    for metric in spec.metric_names[len(spec.objectives) :]:
        table.add_column(metric, justify="right")
    table.add_column(spec.scheduler.resource, justify="right")
    table.add_column("parameters", overflow="fold")
    for place, standing in enumerate(best):
        is_ranked = len(spec.objectives) == 1 and place < len(_MEDALS)
        table.add_row(
            _MEDALS[place] if is_ranked else "",
            str(standing.trial),
            *(_number(standing.metrics.get(name)) for name in spec.metric_names),
            "" if standing.step is None else str(standing.step),
            Text(_assignment_text(standing)),  # a value may look like markup
        )
    return table


def _heading(objective: Objective) -> str:
    return f"{objective.metric} ({objective.goal[:3]})"


def _spending(spec: ExperimentSpec, status: ExperimentStatus, seconds: float) -> list[str]:
    cost, resource = status.cost, spec.scheduler.resource
    took, trained = _duration(timedelta(seconds=seconds)), _duration(timedelta(seconds=cost.trial_seconds))
    lines = [f"took {took}; the trials trained {trained} in all"]
    if cost.full_steps and cost.steps:
        saved = 1 - cost.steps / cost.full_steps
        lines.append(
            f"spent {cost.steps} {resource}s of the {cost.full_steps} that training every trial in full would take: "
            f"the scheduler saved {saved:.0%}"
        )
    return lines


def _assignment_text(standing: Standing) -> str:
    return "  ".join(f"{name}={_short(value)}" for name, value in standing.parameters.items())


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value_text(value)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def _duration(span: timedelta) -> str:
    seconds = round(span.total_seconds())
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
