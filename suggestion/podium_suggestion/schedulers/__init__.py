"""Schedulers: how much to spend on each trial. One file each; `make_scheduler` is the only way to get one."""

from typing import assert_never

from podium_contract.algorithms import (
    AshaScheduler,
    HalvingScheduler,
    HyperbandScheduler,
    MedianScheduler,
    NoScheduler,
    Pb2Scheduler,
    PbtScheduler,
)
from podium_contract.experiment import ExperimentSpec
from podium_suggestion.schedulers.asha import make_asha
from podium_suggestion.schedulers.base import Scheduler
from podium_suggestion.schedulers.halving import make_halving
from podium_suggestion.schedulers.hyperband import make_hyperband
from podium_suggestion.schedulers.median import MedianStopping
from podium_suggestion.schedulers.none import Unscheduled
from podium_suggestion.schedulers.pb2 import make_pb2
from podium_suggestion.schedulers.pbt import make_pbt
from podium_suggestion.schedulers.wording import Wording
from podium_suggestion.space import Space


def make_scheduler(spec: ExperimentSpec) -> Scheduler:
    """Return the scheduler that a spec asks for."""
    wording = Wording(spec.objectives[0], spec.scheduler.resource)
    match spec.scheduler:
        case NoScheduler() as wanted:
            return Unscheduled(wanted)
        case MedianScheduler() as wanted:
            return MedianStopping(wanted, wording)
        case HalvingScheduler() as wanted:
            return make_halving(wanted, wording, spec.max_trials)
        case AshaScheduler() as wanted:
            return make_asha(wanted, wording)
        case HyperbandScheduler() as wanted:
            return make_hyperband(wanted, wording, spec.max_trials)
        case PbtScheduler() as wanted:
            return make_pbt(wanted, wording, Space(spec.parameters), spec.search.seed)
        case Pb2Scheduler() as wanted:
            return make_pb2(wanted, wording, Space(spec.parameters), spec.search.seed)
        case unknown:
            assert_never(unknown)
