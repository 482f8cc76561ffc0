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
from podium_suggestion.samplers.distinct import DefaultsFirst, Distinct
from podium_suggestion.samplers.evolution import make_evolution
from podium_suggestion.samplers.forest import ForestSampler
from podium_suggestion.samplers.frugal import FrugalSampler
from podium_suggestion.samplers.gp import GpSampler
from podium_suggestion.samplers.grid import GridSampler
from podium_suggestion.samplers.random import RandomSampler
from podium_suggestion.samplers.sobol import SobolSampler
from podium_suggestion.samplers.tpe import TpeSampler
from podium_suggestion.space import Space

__all__ = ["Exhausted", "Sampler", "make_sampler", "trial_rng"]


def make_sampler(spec: ExperimentSpec, space: Space) -> Sampler:
    """Return the sampler that an experiment asks for, over the space of its parameters."""
    search = spec.search
    sampler: Sampler
    match search:
        case GridSearch():
            return GridSampler(space, spec.max_trials, search.settings.points_per_parameter)
        case RandomSearch():
            sampler = RandomSampler(space)
        case SobolSearch():
            sampler = SobolSampler(space, search.seed)
        case TpeSearch():
            sampler = TpeSampler(space, search.settings, search.seed)
        case GpSearch():
            sampler = GpSampler(space, search.settings, search.seed, spec.max_trials)
        case AutoSearch():
            sampler = AutoSampler(space, search.settings, Budget(spec.max_trials, spec.parallelism), search.seed)
        case ForestSearch():
            sampler = ForestSampler(space, search.settings, search.seed)
        case CmaesSearch():
            sampler = CmaesSampler(space, search.settings, search.seed)
        case EvolutionSearch():
            sampler = make_evolution(space, search.settings, search.seed)
        case FrugalSearch():
            sampler = FrugalSampler(space, search.settings, search.seed)
        case _:
            assert_never(search)
    return DefaultsFirst(space, Distinct(space, sampler))
