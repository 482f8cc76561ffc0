"""A trial's status takes in reports: the latest values, and a bounded selection of the curve."""

from collections.abc import Collection, Iterable

from podium_contract.experiment import ExperimentSpec
from podium_contract.trial import MAX_KEPT_OBSERVATIONS, Observation, TrialStatus

_RECENT = MAX_KEPT_OBSERVATIONS // 2


def with_reports(
    status: TrialStatus, reports: Iterable[Observation], spec: ExperimentSpec, milestones: Collection[int] = ()
) -> TrialStatus:
    """Return the status with the reports taken in; reports that it has already change nothing.

    `milestones` are steps at which verdicts are taken: their observations are the last to be dropped.
    """
    by_step = {observation.step: observation for observation in status.observations}
    for report in sorted(reports, key=_order):
        known = by_step.get(report.step)
        if known is None or _order(known) < _order(report):
            by_step[report.step] = report
    curve = [by_step[step] for step in sorted(by_step)]
    if not curve or curve == list(status.observations):
        return status
    metrics = dict(status.metrics)
    for observation in curve:
        if observation.step >= status.step:
            metrics.update(observation.metrics)
    return status.model_copy(
        update={
            "step": max(status.step, curve[-1].step),
            "metrics": metrics,
            "value": metrics.get(spec.objectives[0].metric),
            "observations": tuple(_thinned(curve, milestones)),
        }
    )


def _order(observation: Observation) -> tuple[int, int, int]:
    return observation.step, observation.attempt, observation.sequence


def _thinned(curve: list[Observation], milestones: Collection[int]) -> list[Observation]:
    """Keep the latest half, milestones, and as many of the rest, evenly spaced, as there is room for."""
    if len(curve) <= MAX_KEPT_OBSERVATIONS:
        return curve
    older, recent = curve[:-_RECENT], curve[-_RECENT:]
    kept = [observation for observation in older if observation.step in milestones][-_RECENT:]
    others = [observation for observation in older if observation.step not in milestones]
    room = MAX_KEPT_OBSERVATIONS - _RECENT - len(kept)
    spread = [others[index * len(others) // room] for index in range(min(room, len(others)))]
    return sorted([*kept, *spread], key=_order) + recent
