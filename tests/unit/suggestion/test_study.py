"""Ask and tell, and every search with every scheduler."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from builders.experiments import a_choice, a_float, a_population, a_scheduler, an_int, an_objective
from podium_contract.algorithms import SCHEDULERS, SEARCHES, algorithm_name
from podium_contract.lifecycle import FINAL, Phase
from podium_suggestion.store import open_store
from podium_suggestion.study import Next, Study, Work

PARAMETERS = [
    a_float("lr", 1e-5, 1e-1),
    an_int("depth", 2, 8, step=2),
    a_choice("optimizer"),
    a_float("momentum", 0.0, 0.99, "linear", when={"optimizer": ["sgd"]}),
]


def a_study(**more: Any) -> Study:
    defaults: dict[str, Any] = {
        "parameters": PARAMETERS,
        "objectives": [an_objective()],
        "search": "random",
        "max_trials": 10,
    }
    return Study.create(**defaults | more)


def space_for(search: str) -> list[dict[str, Any]]:
    """The parameters, as far as a search takes them: CMA-ES has no use for choices."""
    return PARAMETERS[:2] if search == "cmaes" else PARAMETERS


def loss_of(work: Work, step: int) -> float:
    return abs(float(work.parameters["lr"]) - 0.01) * 10 + 1 / step


def train(study: Study, work: Work) -> Next:
    """Train a trial until it is told not to."""
    assert work.target is not None
    for step in range(work.from_step + 1, work.target + 1):
        ruling = study.tell(work.number, step, loss_of(work, step))
        if ruling.next is not Next.CONTINUE:
            assert ruling.reason
            return ruling.next
    raise AssertionError("the target is reached, and nobody said so")


def run(study: Study) -> list[int]:
    """Train whatever is handed out, one after the other; returns the numbers."""
    numbers = []
    while (work := study.ask()) is not None:
        numbers.append(work.number)
        train(study, work)
    return numbers


LADDERS = [name for name in map(algorithm_name, SCHEDULERS) if name not in ("pbt", "pb2")]


@pytest.mark.thorough
@pytest.mark.parametrize(("search", "scheduler"), list(product(map(algorithm_name, SEARCHES), LADDERS)))
def test_every_search_works_with_every_scheduler(search: str, scheduler: str) -> None:
    wanted = {"algorithm": "none", "max": 9} if scheduler == "none" else a_scheduler(scheduler, 1, 9)
    study = a_study(search=search, scheduler=wanted, max_trials=16, parameters=space_for(search))
    numbers = run(study)
    records = study.records()
    assert sorted(set(numbers)) == list(range(1, 17))
    assert study.is_finished
    assert {record.phase for record in records} <= FINAL
    assert len(study.best()) == 3
    assert study.best()[0].step == 9
    assert study.advice.steps <= 9 * 16


@pytest.mark.parametrize("search", [name for name in map(algorithm_name, SEARCHES) if name != "grid"])
def test_every_search_but_the_grid_begins_a_population(search: str) -> None:
    population = a_population(9, populationSize=4, interval=3)
    study = a_study(search=search, scheduler=population, max_trials=16, parameters=space_for(search))
    numbers = run(study)
    assert 4 < max(numbers) <= 16
    assert study.is_finished
    assert study.best()[0].step == 9
    assert study.advice.steps >= 4 * 9 - 3, "a clone may go on from further than its predecessor came"


def test_a_trial_without_a_target_goes_on_until_it_is_finished() -> None:
    study = a_study(max_trials=1)
    work = study.ask()
    assert work is not None
    assert (work.from_step, work.target) == (0, None)
    assert study.tell(work.number, 1, 0.5).next is Next.CONTINUE
    study.finish(work.number)
    assert study.records()[0].phase is Phase.SUCCEEDED
    assert study.ask() is None
    assert study.is_finished


def test_several_trials_may_be_out_at_a_time() -> None:
    study = a_study(max_trials=3)
    works = [study.ask() for _ in range(4)]
    assert [work.number for work in works if work is not None] == [1, 2, 3]
    assert works[3] is None
    assert not study.is_finished


def test_a_promoted_trial_resumes_where_it_stopped() -> None:
    study = a_study(scheduler=a_scheduler("asha", 1, 9))
    works = []
    while (work := study.ask()) is not None and work.from_step == 0:
        works.append(work)
        assert train(study, work) is Next.PAUSE
    assert work is not None
    assert (work.from_step, work.target) == (1, 3)
    assert work.parameters == works[work.number - 1].parameters


def test_a_stopped_trial_is_told_why() -> None:
    study = a_study(scheduler=a_scheduler("median", 1, 9, startupTrials=1))
    good, bad = study.ask(), study.ask()
    assert good is not None
    assert bad is not None
    study.tell(good.number, 1, 0.1)
    ruling = study.tell(bad.number, 1, 0.9)
    assert ruling.next is Next.STOP
    assert "worse than the median" in ruling.reason
    assert study.tell(bad.number, 2, 0.0).next is Next.STOP
    assert study.records()[1].phase is Phase.PRUNED


def test_reaching_the_target_finishes_the_study() -> None:
    study = a_study(objectives=[an_objective(target=0.2)], scheduler={"algorithm": "none", "max": 9})
    work = study.ask()
    assert work is not None
    assert study.tell(work.number, 1, 0.5).next is Next.CONTINUE
    assert study.tell(work.number, 2, 0.1).next is Next.FINISH
    assert study.is_finished
    assert study.ask() is None


def test_telling_twice_changes_nothing() -> None:
    study = a_study(scheduler={"algorithm": "none", "max": 3})
    work = study.ask()
    assert work is not None
    study.tell(work.number, 1, 0.5)
    before = study.records()
    assert study.tell(work.number, 1, 0.4).next is Next.CONTINUE
    assert study.records() == before


def test_a_later_attempt_corrects_an_earlier_one() -> None:
    study = a_study(scheduler={"algorithm": "none", "max": 3})
    work = study.ask()
    assert work is not None
    study.tell(work.number, 1, 0.5)
    study.tell(work.number, 1, 0.4, attempt=2)
    assert study.records()[0].observations[0].metrics == {"loss": 0.4}


def test_failures_are_survived() -> None:
    study = a_study(scheduler=a_scheduler("halving", 1, 9, bracketSize=3), max_trials=9)
    while (work := study.ask()) is not None:
        if work.number % 3 == 0:
            study.fail(work.number, "out of luck")
            study.fail(work.number, "twice is once")
        else:
            train(study, work)
    failed = [record for record in study.records() if record.phase is Phase.FAILED]
    assert [record.number for record in failed] == [3, 6, 9]
    assert failed[0].message == "out of luck"
    assert study.is_finished


def test_a_trial_that_never_reported_fails() -> None:
    study = a_study(max_trials=1)
    work = study.ask()
    assert work is not None
    study.finish(work.number)
    assert study.records()[0].reason == "MetricsUnavailable"


def test_an_unknown_trial_is_refused() -> None:
    with pytest.raises(ValueError, match="got 7; ask first"):
        a_study().tell(7, 1, 0.5)


def test_the_same_request_gets_the_same_trial_in_another_process_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    first = a_study(store=open_store(url)).ask("request-1")
    again = a_study(store=open_store(url))
    assert again.ask("request-1") == first
    other = again.ask("request-2")
    assert other is not None
    assert other.number == 2


def test_a_study_goes_on_where_another_process_left_it(tmp_path: Path) -> None:
    whole = a_study(scheduler=a_scheduler("asha", 1, 9))
    run(whole)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    while True:
        study = a_study(scheduler=a_scheduler("asha", 1, 9), store=open_store(url))
        for work in study.unfinished:
            train(study, work)
        work_or_none = study.ask()
        if work_or_none is None:
            break
        if work_or_none.number % 2:
            train(study, work_or_none)
    assert study.records() == whole.records()
    assert study.best() == whole.best()


def test_a_stop_that_was_never_read_is_heeded_by_the_next_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    scheduler = a_scheduler("median", 1, 9, startupTrials=1)
    study = a_study(scheduler=scheduler, store=open_store(url), max_trials=2)
    good, bad = study.ask(), study.ask()
    assert good is not None
    assert bad is not None
    study.tell(good.number, 1, 0.1)
    study.tell(bad.number, 1, 0.9)
    study = a_study(scheduler=scheduler, store=open_store(url), max_trials=2)
    assert [work.number for work in study.unfinished] == [1]
    assert study.records()[1].phase is Phase.PRUNED


def test_a_trial_that_overshot_several_rungs_is_not_handed_out_for_nothing() -> None:
    study = a_study(scheduler=a_scheduler("asha", 1, 9), max_trials=3)
    for loss in (0.3, 0.2):
        work = study.ask()
        assert work is not None
        study.tell(work.number, 1, loss)
    work = study.ask()
    assert work is not None
    study.tell(work.number, 5, 0.1)
    work = study.ask()
    assert work is not None
    assert (work.number, work.from_step, work.target) == (3, 5, 9)


def test_a_clone_is_handed_out_with_its_parent_and_the_step_to_go_on_from() -> None:
    study = a_study(scheduler=a_population(40, populationSize=4, interval=10), max_trials=20)
    while (work := study.ask()) is not None and work.parent is None:
        study.tell(work.number, work.target or 0, abs(float(work.parameters["lr"]) - 0.01) + work.number)
    assert work is not None
    assert work.parent is not None
    assert work.parent.trial == 1
    assert (work.from_step, work.target) == (work.parent.step, work.parent.step + 10)
    assert study.records()[work.number - 1].parent == work.parent


def test_several_objectives_have_a_front() -> None:
    study = a_study(objectives=[an_objective(), an_objective("size")], max_trials=3)
    for loss, size in ((0.1, 3.0), (0.2, 2.0), (0.3, 2.5)):
        work = study.ask()
        assert work is not None
        study.tell(work.number, 1, {"loss": loss, "size": size})
        study.finish(work.number)
    assert [standing.trial for standing in study.best()] == [1, 2]
