"""Samplers: what to try next. One file each; `make_sampler` is the only way to get one."""

from typing import assert_never

from podium_contract.algorithms import (
    AutoSearch,
    CmaesSearch,
    EvolutionSearch,
    ForestSearch,
    FrugalSearch,
    GpSearch,
    GridSearch,
    RandomSearch,
    SobolSearch,
    TpeSearch,
)
from podium_contract.experiment import ExperimentSpec
from podium_suggestion.samplers.auto import AutoSampler, Budget
from podium_suggestion.samplers.base import Exhausted, Sampler, trial_rng
from podium_suggestion.samplers.cmaes import CmaesSampler
from podium_suggestion.samplers.distinct import Distinct
from podium_suggestion.samplers.evolution import make_evolution
from podium_suggestion.samplers.forest import ForestSampler
from podium_suggestion.samplers.frugal import FrugalSampler
from podium_suggestion.samplers.gp import GpSampler
from podium_suggestion.samplers.grid import GridSampler
from podium_suggestion.samplers.points import PointsFirst, default_points, inherited_points, manifest_points
from podium_suggestion.samplers.prior import Prior
from podium_suggestion.samplers.random import RandomSampler
from podium_suggestion.samplers.sobol import SobolSampler
from podium_suggestion.samplers.tpe import TpeSampler
from podium_suggestion.space import Space
from podium_suggestion.transfer.inheritance import Inheritance

__all__ = ["Exhausted", "Sampler", "make_sampler", "trial_rng"]


def make_sampler(spec: ExperimentSpec, space: Space, inheritance: Inheritance | None = None) -> Sampler:
    """Return the sampler that an experiment asks for, over the space of its parameters, with what it inherits."""
    inherited = inheritance or Inheritance()
    points = manifest_points(spec.search.points)
    sampler = _searching(spec, space, _prior(spec, space, inherited))
    if not isinstance(spec.search, GridSearch):  # a grid has points of its own, each of them once
        points += default_points(space)
        sampler = Distinct(space, sampler)
    return PointsFirst(space, [*points, *inherited_points(inherited.starting_points)], sampler)


def _prior(spec: ExperimentSpec, space: Space, inherited: Inheritance) -> Prior | None:
    warm_start = spec.search.warm_start
    if warm_start is None or not warm_start.learn_from_results or not inherited.sources:
        return None
    return Prior(space, inherited.sources)


def _searching(spec: ExperimentSpec, space: Space, prior: Prior | None) -> Sampler:
    search = spec.search
    match search:
        case GridSearch():
            return GridSampler(space, spec.max_trials, search.settings.points_per_parameter)
        case RandomSearch():
            return RandomSampler(space)
        case SobolSearch():
            return SobolSampler(space, search.seed)
        case TpeSearch():
            return TpeSampler(space, search.settings, search.seed, prior)
        case GpSearch():
            return GpSampler(space, search.settings, search.seed, spec.max_trials, prior)
        case AutoSearch():
            return AutoSampler(space, search.settings, Budget(spec.max_trials, spec.parallelism, prior), search.seed)
        case ForestSearch():
            return ForestSampler(space, search.settings, search.seed)
        case CmaesSearch():
            return CmaesSampler(space, search.settings, search.seed)
        case EvolutionSearch():
            return make_evolution(space, search.settings, search.seed)
        case FrugalSearch():
            return FrugalSampler(space, search.settings, search.seed)
        case _:
            assert_never(search)
