"""Takes from earlier experiments what a new one is to begin with: once, when it is founded.

Losses of other experiments are on scales of their own, so that only their order is taken: places among the trials of the
same experiment, as normal scores. The order is that of this experiment's objectives and constraints.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import numpy as np

from podium_contract.algorithms import WarmStart
from podium_contract.experiment import ExperimentSpec
from podium_contract.names import parse_experiment_key
from podium_suggestion.history import History
from podium_suggestion.ranking import ranking
from podium_suggestion.samplers.base import trial_rng
from podium_suggestion.samplers.forest import training_set
from podium_suggestion.space import Space
from podium_suggestion.store import Store
from podium_suggestion.transfer.inheritance import Inheritance, Source, SourceTrial, StartingPoint
from podium_suggestion.transfer.mapping import SpaceMap
from podium_suggestion.transfer.portfolio import portfolio
from podium_suggestion.transfer.similarity import similarities

_MOST_TRIALS = 150
"""Trials taken of an experiment at most: of more, the best half and an even choice of the others."""
_NO_TRIAL = 0
"""Number under which what is drawn for the warm start is drawn: no trial bears it."""


@dataclass(frozen=True)
class _Record:
    """An earlier experiment in a store."""

    store: Store
    key: str
    spec: ExperimentSpec

    @property
    def name(self) -> str:
        return parse_experiment_key(self.key)[1]


class _UnfitError(ValueError):
    """An experiment has nothing for this one; the message says why, after its name."""


def inherit(key: str, spec: ExperimentSpec, stores: Iterable[Store], *, must_be_there: bool = True) -> Inheritance:
    """Return what an experiment that begins now takes from the other ones of its namespace.

    An experiment that is named but missing, or has nothing for this one, is refused; with `must_be_there` off it is left
    out (trials exist already, and their record was lost).
    """
    warm_start = spec.search.warm_start
    if warm_start is None:
        return Inheritance()
    records = _records(key, warm_start.experiments, stores)
    if warm_start.experiments is None:
        sources = _most_alike(records, spec, warm_start.max_experiments)
    else:
        try:
            sources = _named(records, spec, warm_start.experiments)
        except _UnfitError as fault:
            if must_be_there:
                return Inheritance(refused=f"spec.search.warmStart.experiments: {fault}")
            named = [record for record in records if record.name in warm_start.experiments]
            sources = list(_fitting(named, spec, [1.0] * len(named)))
    return Inheritance(sources=tuple(sources), starting_points=_starting_points(sources, spec, warm_start))


def _records(key: str, names: Sequence[str] | None, stores: Iterable[Store]) -> list[_Record]:
    """Return the other experiments of the namespace that are asked for: by name, or as they tell of their data sets."""
    namespace = parse_experiment_key(key)[0]
    records: dict[str, _Record] = {}
    for store in stores:
        for other in store.experiments_of(namespace):
            if other == key or other in records or (names is not None and parse_experiment_key(other)[1] not in names):
                continue
            its_spec = store.spec_of(other)
            if its_spec is not None and (names is not None or its_spec.search.meta_features):
                records[other] = _Record(store, other, its_spec)
    return [records[other] for other in sorted(records)]


def _named(records: Sequence[_Record], spec: ExperimentSpec, names: Sequence[str]) -> list[Source]:
    missing = [name for name in names if name not in {record.name for record in records}]
    if missing:
        raise _UnfitError(
            f"a source is an experiment of this namespace in the same store, got {', '.join(missing)}, which is not there; "
            "run it first, then make this experiment anew, or remove it from the list"
        )
    own = spec.search.meta_features
    stated = [record.spec.search.meta_features for record in records]
    alike = similarities(own, stated) if own else np.zeros(len(records))
    if not alike.all():  # of some nothing is known: somebody named them, so they count as much as any
        alike = np.ones(len(records))
    sources = []
    for record, similarity in zip(records, alike.tolist(), strict=True):
        try:
            sources.append(_source(record, spec, similarity))
        except _UnfitError as fault:
            raise _UnfitError(f"a source is of use to this experiment, got {record.name}, which {fault}") from None
    return sources


def _most_alike(records: Sequence[_Record], spec: ExperimentSpec, most: int) -> list[Source]:
    alike = similarities(spec.search.meta_features, [record.spec.search.meta_features for record in records])
    order = [int(position) for position in np.argsort(-alike, kind="stable") if alike[position] > 0.0]
    fitting = _fitting([records[position] for position in order], spec, [float(alike[p]) for p in order])
    return list(islice(fitting, most))


def _fitting(records: Sequence[_Record], spec: ExperimentSpec, alike: Sequence[float]) -> Iterator[Source]:
    """Yield as sources those experiments that have something for this one; each is read when it is asked for."""
    for record, similarity in zip(records, alike, strict=True):
        with suppress(_UnfitError):
            yield _source(record, spec, similarity)


def _source(record: _Record, spec: ExperimentSpec, similarity: float) -> Source:
    """Return what an experiment has for this one; raises _UnfitError."""
    goals = {(objective.metric, objective.goal) for objective in record.spec.objectives}
    for objective in spec.objectives:
        if (objective.metric, objective.goal) not in goals:
            theirs = ", ".join(sorted(f"{metric} to {goal}" for metric, goal in goals))
            raise _UnfitError(
                f"has the objectives {theirs}, but not {objective.metric} to {objective.goal}; choose one that shares it"
            )
    mapped = SpaceMap(record.spec.parameters, spec.parameters)
    if not mapped.shared:
        raise _UnfitError("shares no parameter by name and type; choose one that does")
    snapshot = record.store.load(record.key)
    history = History(Space(record.spec.parameters), spec.objectives, spec.constraints)
    for trial in snapshot.trials if snapshot is not None else ():
        history.add(trial)
    order = ranking(history)
    if not len(order):
        raise _UnfitError("has no trial with a usable result yet; wait for it")
    rows, scores = training_set(history, order, trial_rng(spec.search.seed, _NO_TRIAL))
    trials = [
        SourceTrial(number=row + 1, parameters=assignment, score=float(score))
        for row, score in zip(rows.tolist(), scores, strict=True)
        if (assignment := mapped(history.trials[row + 1].assignment)) is not None
    ]
    if not {trial.number for trial in trials} & {row + 1 for row in order.tolist()}:
        raise _UnfitError("has no trial within this experiment's ranges; widen them, or choose another")
    shared = tuple(mapped.shared)
    return Source(experiment=record.key, similarity=similarity, shared=shared, trials=tuple(_some_of(trials)))


def _some_of(trials: list[SourceTrial]) -> list[SourceTrial]:
    if len(trials) <= _MOST_TRIALS:
        return trials
    half = _MOST_TRIALS // 2
    evenly = np.linspace(half, len(trials) - 1, _MOST_TRIALS - half).round().astype(int)
    return [*trials[:half], *(trials[position] for position in evenly)]


def _starting_points(
    sources: Sequence[Source], spec: ExperimentSpec, warm_start: WarmStart
) -> tuple[StartingPoint, ...]:
    if not sources:
        return ()
    chosen = portfolio(Space(spec.parameters), sources, warm_start.starting_points)
    return tuple(
        StartingPoint(
            parameters=sources[index].trials[place].parameters,
            origin=f"trial {sources[index].trials[place].number} of {parse_experiment_key(sources[index].experiment)[1]}",
        )
        for index, place in chosen
    )
