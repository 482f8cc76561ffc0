"""The exchange, claim by claim."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.experiments import a_scheduler, a_search, an_experiment_spec, an_objective
from builders.simulated_operator import KEY, SimulatedOperator, essence
from podium_contract.experiment import ExperimentSpec
from podium_contract.lifecycle import Phase
from podium_contract.trial import Observation
from podium_contract.wire import Advice, AdviceRequest, Promote, Stop, TrialFacts
from podium_suggestion.engine import Engine, ImmutableSpecError, UnknownExperimentError
from podium_suggestion.store import Changes, Store, StoreError, open_store


def a_spec(**spec: Any) -> ExperimentSpec:
    return an_experiment_spec(**{"search": a_search("random", seed=7), "max_trials": 6, "parallelism": 2, **spec})


def an_engine() -> Engine:
    return Engine(open_store())


_ids = iter(range(10**9))


def advise(
    engine: Engine,
    spec: ExperimentSpec,
    *facts: TrialFacts,
    slots: int | None = None,
    complete: bool = False,
    request_id: str = "",
) -> Advice:
    request = AdviceRequest(
        experiment=KEY,
        request_id=request_id or f"r{next(_ids)}",
        spec=spec,
        slots=spec.parallelism if slots is None else slots,
        facts=facts,
        complete=complete,
    )
    return engine.advise(request)


def report(step: int, loss: float, attempt: int = 1, sequence: int | None = None, **metrics: float) -> Observation:
    place = step if sequence is None else sequence
    return Observation(attempt=attempt, step=step, sequence=place, metrics={"loss": loss, **metrics})


def facts(number: int, phase: str = "Running", *observations: Observation, **more: Any) -> TrialFacts:
    return TrialFacts(number=number, phase=Phase(phase), attempt=1, observations=observations, **more)


def stops(advice: Advice) -> list[tuple[int, int]]:
    return [(verdict.trial, verdict.step) for verdict in advice.verdicts if isinstance(verdict, Stop)]


def promotions(advice: Advice) -> list[tuple[int, int]]:
    return [(verdict.trial, verdict.target) for verdict in advice.verdicts if isinstance(verdict, Promote)]


def numbers(advice: Advice) -> list[int]:
    return [assignment.number for assignment in advice.assignments]


# --- founding, and being unknown ------------------------------------------------------------------------------


def test_an_unknown_experiment_is_refused_unless_the_facts_are_complete() -> None:
    engine, spec = an_engine(), a_spec()
    with pytest.raises(UnknownExperimentError):
        advise(engine, spec)
    assert numbers(advise(engine, spec, complete=True)) == [1, 2]


def test_a_trial_that_the_store_does_not_hold_is_refused_unless_the_facts_are_complete() -> None:
    engine, spec = an_engine(), a_spec()
    advise(engine, spec, complete=True)
    with pytest.raises(UnknownExperimentError, match="trial 5"):
        advise(engine, spec, facts(5))


def test_experiments_of_one_name_in_two_namespaces_do_not_meet() -> None:
    engine, spec = an_engine(), a_spec()
    for namespace in ("a", "b"):
        request = AdviceRequest(experiment=f"{namespace}/x/1", request_id="r", spec=spec, slots=1, complete=True)
        assert numbers(engine.advise(request)) == [1]


def test_a_forgotten_experiment_is_unknown_again() -> None:
    engine, spec = an_engine(), a_spec()
    advise(engine, spec, complete=True)
    assert engine.forget(KEY)
    assert not engine.forget(KEY)
    with pytest.raises(UnknownExperimentError):
        engine.records(KEY)


# --- levels, not edges ----------------------------------------------------------------------------------------


def test_an_assignment_is_advised_until_facts_mention_the_trial() -> None:
    engine, spec = an_engine(), a_spec()
    first = advise(engine, spec, complete=True)
    assert advise(engine, spec).assignments == first.assignments
    assert numbers(advise(engine, spec, facts(1, "Pending"))) == [2]
    assert numbers(advise(engine, spec, facts(2))) == []


def test_a_promotion_is_advised_until_facts_show_the_larger_target() -> None:
    engine, spec = an_engine(), a_spec(scheduler=a_scheduler("asha", 1, 9), parallelism=1)
    advise(engine, spec, complete=True)
    for number in (1, 2):
        advise(engine, spec, facts(number, "Paused", report(1, number / 10), target=1))
    advice = advise(engine, spec, facts(3, "Paused", report(1, 0.5), target=1))
    assert promotions(advice) == [(1, 3)]
    assert promotions(advise(engine, spec)) == [(1, 3)]
    assert promotions(advise(engine, spec, facts(1, "Paused", target=1))) == [(1, 3)]
    assert promotions(advise(engine, spec, facts(1, "Paused", target=3))) == []
    assert numbers(advise(engine, spec)) == [], "the promoted trial holds the slot"


def test_a_stop_is_advised_until_facts_show_the_trial_ended() -> None:
    engine, spec = an_engine(), a_spec(scheduler=a_scheduler("median", 1, 9, startupTrials=1))
    advise(engine, spec, complete=True)
    advice = advise(engine, spec, facts(1, "Running", report(1, 0.1)), facts(2, "Running", report(1, 0.9)))
    assert stops(advice) == [(2, 1)]
    assert stops(advise(engine, spec)) == [(2, 1)]
    assert stops(advise(engine, spec, facts(2, "Running"))) == [(2, 1)]
    assert stops(advise(engine, spec, facts(2, "Pruned"))) == []
    assert stops(advise(engine, spec)) == []


def test_a_stopped_trial_holds_its_slot_until_its_run_has_ended() -> None:
    engine, spec = an_engine(), a_spec(scheduler=a_scheduler("median", 1, 9, startupTrials=1))
    advise(engine, spec, complete=True)
    advice = advise(engine, spec, facts(1, "Running", report(1, 0.1)), facts(2, "Running", report(1, 0.9)))
    assert numbers(advice) == []
    assert numbers(advise(engine, spec, facts(2, "Pending"))) == [3], "its run is gone; the operator prunes it now"


def test_a_stop_turns_a_trial_that_ended_in_the_same_exchange_into_a_pruned_one() -> None:
    for ending in ("Succeeded", "Paused", "Failed", "Pending"):
        engine, spec = an_engine(), a_spec(scheduler=a_scheduler("median", 1, 9, startupTrials=1))
        advise(engine, spec, complete=True)
        advice = advise(
            engine, spec, facts(1, "Running", report(1, 0.1)), facts(2, ending, report(1, 0.9), report(2, 0.0))
        )
        assert stops(advice) == [(2, 1)], ending
        record = engine.records(KEY)[1]
        assert (record.phase, record.reason, record.judged_step) == (Phase.PRUNED, "StoppedByScheduler", 1)
        assert stops(advise(engine, spec, facts(2, ending))) == [(2, 1)], "the answer was lost; the facts are repeated"
        assert stops(advise(engine, spec, facts(2, "Pruned"))) == []


def test_the_same_request_gets_the_same_answer_after_a_restart_too() -> None:
    store, spec = open_store(), a_spec()
    first = advise(Engine(store), spec, complete=True, request_id="once")
    advise(Engine(store), spec, facts(1), facts(2), slots=4)
    assert advise(Engine(store), spec, complete=True, request_id="once") == first


def test_a_request_from_before_a_restart_gets_its_answer_when_others_have_come_since() -> None:
    """The restarted engine has the record in memory by then, but not whom it answered before."""
    store, spec = open_store(), an_experiment_spec(parallelism=1)
    first = advise(Engine(store), spec, complete=True, request_id="before")
    engine = Engine(store)
    advise(engine, spec, slots=3, request_id="since")
    assert advise(engine, spec, slots=7, request_id="before") == first


def test_with_no_slots_only_verdicts_are_given() -> None:
    engine, spec = an_engine(), a_spec(scheduler=a_scheduler("median", 1, 9, startupTrials=1))
    advise(engine, spec, complete=True)
    advice = advise(engine, spec, facts(1, "Running", report(1, 0.1)), facts(2, "Succeeded", report(1, 0.9)), slots=0)
    assert stops(advice) == [(2, 1)]
    assert numbers(advice) == []
    assert not advice.idle


# --- limits ---------------------------------------------------------------------------------------------------


def test_max_trials_is_never_exceeded_and_the_end_is_idle() -> None:
    operator = SimulatedOperator(an_engine(), a_spec(max_trials=6, parallelism=4), lambda _p, step: {"loss": 1 / step})
    operator.run()
    assert sorted(operator.trials) == [1, 2, 3, 4, 5, 6]
    assert operator.advice.idle


def test_raising_max_trials_goes_on_and_lowering_it_drains() -> None:
    operator = SimulatedOperator(an_engine(), a_spec(max_trials=2), lambda _p, step: {"loss": 1 / step})
    operator.run()
    operator.spec = a_spec(max_trials=4)
    operator.run()
    assert sorted(operator.trials) == [1, 2, 3, 4]
    operator.spec = a_spec(max_trials=1)
    assert operator.exchange().idle


def test_trials_that_were_not_made_before_max_trials_was_lowered_are_not_waited_for() -> None:
    engine = an_engine()
    advice = advise(engine, a_spec(max_trials=8, parallelism=4), complete=True)
    assert numbers(advice) == [1, 2, 3, 4]
    lowered, done = a_spec(max_trials=2, parallelism=4), (report(1, 0.5),)
    ended = [facts(number, "Succeeded", *done) for number in (1, 2)]
    advice = advise(engine, lowered, *ended)
    assert (numbers(advice), advice.idle) == ([], True)
    advice = advise(engine, lowered, facts(3, "Running"))
    assert not advice.idle, "it was made after all"
    assert numbers(advise(engine, a_spec(max_trials=8, parallelism=4), facts(3, "Running")))[0] == 4, "raised again"


@pytest.mark.parametrize("algorithm", ["halving", "hyperband", "asha"])
def test_rungs_do_not_wait_for_trials_that_were_not_made_before_max_trials_was_lowered(algorithm: str) -> None:
    engine, whole = an_engine(), {"scheduler": a_scheduler(algorithm, 1, 9), "parallelism": 5}
    first = advise(engine, a_spec(max_trials=9, **whole), complete=True)
    assert len(numbers(first)) == 5
    targets = {assignment.number: assignment.target for assignment in first.assignments}
    rested = [
        facts(number, "Paused", report(targets[number] or 1, number / 10), target=targets[number])
        for number in (1, 2, 3)
    ]
    advice = advise(engine, a_spec(max_trials=3, **whole), *rested)
    assert not advice.idle
    assert advice.verdicts, "somebody goes on"


def test_deleted_trial_that_rested_at_a_rung_is_not_waited_for() -> None:
    engine, spec = an_engine(), a_spec(scheduler=a_scheduler("asha", 1, 3), parallelism=1, max_trials=3)
    advise(engine, spec, complete=True)
    advise(engine, spec, facts(1, "Paused", report(1, 0.1), target=1))
    advise(engine, spec, facts(2, "Paused", report(1, 0.2), target=1))
    rest = (facts(2, "Paused", target=1), facts(3, "Paused", report(1, 0.3), target=1))
    advice = advise(engine, spec, *rest, complete=True)
    assert [verdict.trial for verdict in advice.verdicts] == [2], "trial 1 is gone, and the best of the others goes on"


def test_no_more_trials_are_out_than_there_are_slots() -> None:
    engine, spec = an_engine(), a_spec(parallelism=3)
    advise(engine, spec, complete=True)
    assert numbers(advise(engine, spec, facts(1), facts(2), facts(3))) == []
    assert numbers(advise(engine, spec, facts(1, "Succeeded", report(1, 0.5)), slots=2)) == [], (
        "parallelism was lowered"
    )
    assert numbers(advise(engine, spec, facts(2, "Succeeded", report(1, 0.5)), slots=2)) == [4]


def test_a_trial_paused_by_suspension_keeps_its_slot() -> None:
    engine, spec = an_engine(), a_spec(parallelism=1, scheduler=a_scheduler("asha", 4, 9))
    advise(engine, spec, complete=True)
    advise(engine, spec, facts(1, "Paused", report(2, 0.5), target=4), slots=0)
    assert numbers(advise(engine, spec)) == []


def test_an_exhausted_search_says_why_and_ends_idle() -> None:
    parameters = [{"name": "lr", "type": "categorical", "values": ["a", "b"]}]
    spec = a_spec(search=a_search("grid"), parameters=parameters, max_trials=6)
    operator = SimulatedOperator(an_engine(), spec, lambda _p, step: {"loss": 1 / step})
    operator.run()
    assert sorted(operator.trials) == [1, 2]
    assert operator.advice.idle
    assert operator.advice.exhausted


@pytest.mark.parametrize(("max_trials", "promotions_beyond_turn"), [(9, False), (20, True)])
def test_slots_are_not_idle_while_trials_were_allowed_that_cannot_come(
    max_trials: int, promotions_beyond_turn: bool
) -> None:
    """Nine configurations, ranked at 1, 3 and 9 steps: by the rule of ASHA three and one go on."""
    parameters = [{"name": "lr", "type": "categorical", "values": list("abcdefghi")}]
    spec = a_spec(
        search=a_search("grid"),
        parameters=parameters,
        max_trials=max_trials,
        parallelism=4,
        scheduler=a_scheduler("asha", 1, 9),
    )
    operator = SimulatedOperator(an_engine(), spec, lambda given, step: {"loss": ord(given["lr"]) + 1 / step})
    operator.run()
    promotions = sum(line.startswith("promote") for line in operator.log)
    assert (promotions > 4) == promotions_beyond_turn
    assert promotions <= 4 + max_trials - 9 + 4, "what goes on out of turn may make room for others in turn"
    assert operator.advice.idle


# --- the spec -------------------------------------------------------------------------------------------------


def test_an_immutable_field_cannot_change() -> None:
    engine = an_engine()
    advise(engine, a_spec(), complete=True)
    with pytest.raises(ImmutableSpecError, match=r"spec\.search cannot change") as refused:
        advise(engine, a_spec(search=a_search("random", seed=8)))
    assert refused.value.path == "spec.search"
    assert numbers(advise(engine, a_spec())) == [1, 2], "nothing was lost"


# --- restoring ------------------------------------------------------------------------------------------------


def test_complete_facts_restore_a_store_that_was_lost() -> None:
    spec = a_spec(scheduler=a_scheduler("asha", 1, 9), max_trials=12)

    def objective(parameters: dict[str, Any], step: int) -> dict[str, float]:
        return {"loss": abs(parameters["lr"] - 0.01) + 1 / step}

    undisturbed = SimulatedOperator(an_engine(), spec, objective)
    undisturbed.run()
    operator = SimulatedOperator(an_engine(), spec, objective)
    for _ in range(8):
        operator.train()
        operator.exchange()
    operator.engine = an_engine()
    with pytest.raises(UnknownExperimentError):
        operator.exchange()
    operator.crash()
    operator.run()
    assert {n: t.parameters for n, t in operator.trials.items()} == {
        n: t.parameters for n, t in undisturbed.trials.items()
    }
    assert [essence(r)["parameters"] for r in operator.records()] == [t.parameters for t in operator.trials.values()]


def test_a_restored_trial_that_has_ended_is_not_judged_again() -> None:
    engine, spec = an_engine(), a_spec(scheduler=a_scheduler("median", 1, 9, startupTrials=1), max_trials=2)
    good = facts(1, "Succeeded", report(1, 0.1), parameters={"lr": 0.01}, target=9)
    bad = facts(2, "Succeeded", report(1, 0.9), parameters={"lr": 0.02}, target=9)
    advice = advise(engine, spec, good, bad, complete=True)
    assert stops(advice) == []
    assert advice.idle


def test_a_number_whose_trial_was_deleted_is_not_given_again() -> None:
    engine, spec = an_engine(), a_spec(parallelism=1)
    last = facts(3, "Succeeded", report(1, 0.1), parameters={"lr": 0.01})
    assert numbers(advise(engine, spec, last, complete=True)) == [4]
    assert [record.number for record in engine.records(KEY)] == [3, 4]


def test_trials_that_were_removed_after_their_end_stay_in_the_record_and_numbers_go_on() -> None:
    engine, spec = an_engine(), a_spec(parallelism=1, max_trials=2)
    advise(engine, spec, complete=True)
    advise(engine, spec, facts(1, "Succeeded", report(1, 0.2)))
    advise(engine, spec, facts(2, "Succeeded", report(1, 0.1)))
    removed = facts(2, "Killed", reason="Deleted", parameters={})
    raised = a_spec(parallelism=1, max_trials=3)
    advice = advise(engine, raised, removed, complete=True)
    assert (numbers(advice), [standing.trial for standing in advice.best]) == ([3], [2, 1])
    assert [record.phase for record in engine.records(KEY)] == [Phase.SUCCEEDED, Phase.SUCCEEDED, Phase.PENDING]


@pytest.mark.parametrize("algorithm", ["random", "sobol", "tpe", "grid"])
def test_a_store_that_was_lost_after_the_trials_were_removed_gives_no_number_again(algorithm: str) -> None:
    engine, spec = an_engine(), a_spec(search=a_search(algorithm), parallelism=1, max_trials=9)
    removed = facts(4, "Killed", reason="Deleted", parameters={})
    advice = advise(engine, spec, removed, complete=True)
    assert numbers(advice) == [5]


def test_a_deleted_trial_frees_its_slot() -> None:
    engine, spec = an_engine(), a_spec(parallelism=1)
    advise(engine, spec, complete=True)
    advise(engine, spec, facts(1))
    advice = advise(engine, spec, complete=True)
    assert numbers(advice) == [2]
    record = engine.records(KEY)[0]
    assert (record.phase, record.reason) == (Phase.KILLED, "Deleted")


def test_a_trial_that_was_advised_but_not_yet_made_is_not_taken_for_deleted() -> None:
    engine, spec = an_engine(), a_spec(parallelism=1)
    advise(engine, spec, complete=True)
    assert numbers(advise(engine, spec, complete=True)) == [1]


# --- reports --------------------------------------------------------------------------------------------------


def test_a_report_told_twice_changes_nothing() -> None:
    engine, spec = an_engine(), a_spec()
    advise(engine, spec, complete=True)
    for _ in range(2):
        advise(engine, spec, facts(1, "Running", report(1, 0.5), report(2, 0.4)))
    assert [o.step for o in engine.records(KEY)[0].observations] == [1, 2]


def test_a_resumed_run_corrects_the_steps_it_repeats() -> None:
    engine, spec = an_engine(), a_spec()
    advise(engine, spec, complete=True)
    advise(engine, spec, facts(1, "Running", report(1, 0.5), report(2, 0.4)))
    advise(engine, spec, facts(1, "Running", report(2, 0.3, attempt=2), report(1, 0.9, attempt=1, sequence=0)))
    observed = [(o.attempt, o.step, o.metrics["loss"]) for o in engine.records(KEY)[0].observations]
    assert observed == [(1, 1, 0.5), (2, 2, 0.3)]


def test_reports_after_a_stop_are_kept_but_decide_nothing() -> None:
    engine, spec = an_engine(), a_spec(scheduler=a_scheduler("median", 1, 9, startupTrials=1))
    advise(engine, spec, complete=True)
    advise(engine, spec, facts(1, "Running", report(1, 0.1)), facts(2, "Running", report(1, 0.9)))
    advice = advise(engine, spec, facts(2, "Running", report(2, 0.0)))
    assert [standing.trial for standing in advice.best] == [1, 2]
    assert advice.best[1].step == 1
    assert advice.steps == 2
    assert [o.step for o in engine.records(KEY)[1].observations] == [1, 2]


def test_each_step_is_judged_in_its_order_even_if_several_arrive_at_once() -> None:
    engine, spec = an_engine(), a_spec(scheduler=a_scheduler("median", 1, 9, startupTrials=1))
    advise(engine, spec, complete=True)
    advise(engine, spec, facts(1, "Running", report(1, 0.1), report(2, 0.1)))
    advice = advise(engine, spec, facts(2, "Running", report(2, 0.9), report(1, 0.8)))
    assert stops(advice) == [(2, 1)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_an_unusable_value_is_kept_and_never_best(value: float) -> None:
    engine, spec = an_engine(), a_spec()
    advise(engine, spec, complete=True)
    advice = advise(engine, spec, facts(1, "Succeeded", report(1, value)), facts(2, "Succeeded", report(1, 0.9)))
    assert [standing.trial for standing in advice.best] == [2]
    kept = engine.records(KEY)[0].observations[0].metrics["loss"]
    assert kept == value or (kept != kept and value != value)


def test_the_last_words_of_a_crash_may_be_no_text(tmp_path: Path) -> None:
    url, spec = f"sqlite:///{tmp_path / 'podium.db'}", a_spec()
    engine = Engine(open_store(url))
    advise(engine, spec, complete=True)
    told = facts(1).model_copy(update={"phase": Phase.FAILED, "message": "bad bytes: \x00 \udcff"})
    advise(engine, spec, told)
    assert engine.records(KEY) == Engine(open_store(url)).records(KEY)
    assert engine.records(KEY)[0].message.startswith("bad bytes: ")


# --- standings ------------------------------------------------------------------------------------------------


def test_the_podium_has_the_best_three_by_their_last_values() -> None:
    engine, spec = an_engine(), a_spec(parallelism=5)
    advise(engine, spec, complete=True)
    told = [facts(n, "Succeeded", report(1, 0.0), report(2, loss)) for n, loss in ((1, 0.3), (2, 0.1), (3, 0.4))]
    advice = advise(engine, spec, *told, facts(4, "Succeeded", report(1, 0.2)), facts(5, "Failed", report(1, 0.0)))
    assert [(s.trial, s.step, s.metrics) for s in advice.best] == [
        (2, 2, {"loss": 0.1}),
        (4, 1, {"loss": 0.2}),
        (1, 2, {"loss": 0.3}),
    ]


def test_of_equal_values_the_one_trained_longer_stands_higher() -> None:
    engine, spec = an_engine(), a_spec()
    advise(engine, spec, complete=True)
    advice = advise(engine, spec, facts(1, "Succeeded", report(1, 0.5)), facts(2, "Succeeded", report(3, 0.5)))
    assert [standing.trial for standing in advice.best] == [2, 1]


def test_a_trial_that_breaks_a_constraint_does_not_stand() -> None:
    engine, spec = an_engine(), a_spec(constraints=[{"metric": "latency", "max": 10.0}])
    advise(engine, spec, complete=True)
    slow, fast = report(1, 0.1, latency=11.0), report(1, 0.9, latency=9.0)
    advice = advise(engine, spec, facts(1, "Succeeded", slow), facts(2, "Succeeded", fast))
    assert [standing.trial for standing in advice.best] == [2]


def test_several_objectives_have_a_front() -> None:
    engine = an_engine()
    spec = a_spec(objectives=[an_objective(), an_objective("size", "minimize")], parallelism=4)
    advise(engine, spec, complete=True)
    points = [(0.1, 9.0), (0.2, 5.0), (0.3, 7.0), (0.4, 1.0)]
    told = [facts(n, "Succeeded", report(1, loss, size=size)) for n, (loss, size) in enumerate(points, start=1)]
    assert [standing.trial for standing in advise(engine, spec, *told).best] == [1, 2, 4]


def test_a_wide_front_shows_twenty_with_both_ends() -> None:
    engine = an_engine()
    spec = a_spec(objectives=[an_objective(), an_objective("size", "minimize")], parallelism=50, max_trials=50)
    advise(engine, spec, complete=True)
    told = [facts(n, "Succeeded", report(1, float(n), size=float(51 - n))) for n in range(1, 51)]
    shown = [standing.trial for standing in advise(engine, spec, *told).best]
    assert len(shown) == 20
    assert {1, 50} <= set(shown)


# --- targets --------------------------------------------------------------------------------------------------


def test_reaching_the_target_ends_the_search_and_later_reports_do_not_undo_it() -> None:
    engine, spec = an_engine(), a_spec(objectives=[an_objective(target=0.2)])
    advise(engine, spec, complete=True)
    advice = advise(engine, spec, facts(1, "Running", report(1, 0.5), report(2, 0.15), report(3, 0.9)))
    assert advice.target_reached
    assert [(s.trial, s.step, s.metrics["loss"]) for s in advice.best] == [(1, 2, 0.15)]
    advice = advise(engine, spec, facts(1, "Running", report(4, 0.8)), facts(2, "Failed"))
    assert advice.target_reached
    assert numbers(advice) == []


def test_a_target_counts_within_the_constraints_only() -> None:
    engine = an_engine()
    spec = a_spec(objectives=[an_objective(target=0.2)], constraints=[{"metric": "latency", "max": 10.0}])
    advise(engine, spec, complete=True)
    assert not advise(engine, spec, facts(1, "Running", report(1, 0.1, latency=11.0))).target_reached
    assert advise(engine, spec, facts(1, "Running", report(2, 0.1, latency=9.0))).target_reached


def test_several_targets_must_be_reached_by_one_trial() -> None:
    engine = an_engine()
    objectives = [an_objective(target=0.2), an_objective("accuracy", "maximize", target=0.9)]
    spec = a_spec(objectives=objectives)
    advise(engine, spec, complete=True)
    one, other = report(1, 0.1, accuracy=0.5), report(1, 0.9, accuracy=0.95)
    assert not advise(engine, spec, facts(1, "Running", one), facts(2, "Running", other)).target_reached
    assert advise(engine, spec, facts(2, "Running", report(2, 0.2, accuracy=0.9))).target_reached


def test_metrics_may_be_reported_at_different_steps() -> None:
    engine = an_engine()
    spec = a_spec(constraints=[{"metric": "latency", "max": 10.0}])
    advise(engine, spec, complete=True)
    measured = Observation(attempt=1, step=1, metrics={"latency": 5.0})
    advice = advise(engine, spec, facts(1, "Running", measured, report(2, 0.4)))
    assert [(s.trial, s.metrics) for s in advice.best] == [(1, {"loss": 0.4, "latency": 5.0})]


# --- the order of arrival -------------------------------------------------------------------------------------


def dump(store: Store) -> list[list[tuple[Any, ...]]]:
    """Every row of every table but the answers, as text."""
    with store._engine.connect() as connection:
        return [
            [tuple(row) for row in connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1, 2, 3")]
            for table in ("trials", "observations", "verdicts")
        ]


REPORTS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 6), st.floats(width=16)),
    min_size=1,
    max_size=12,
    unique_by=lambda told: (told[0], told[1], told[2]),
)


@pytest.mark.thorough
@settings(max_examples=30, deadline=None)
@given(REPORTS, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_change_what_the_store_holds(
    reports: list[tuple[int, int, int, float]], shuffle: random.Random
) -> None:
    # A run's sequence numbers are distinct, so (attempt, sequence) names a report; steps repeat.
    told = [
        (number, report(step=1 + place % 3, loss=loss, attempt=attempt, sequence=place))
        for number, attempt, place, loss in reports
    ]
    dumps = []
    for _ in range(3):
        store = open_store()
        engine, spec = Engine(store), a_spec(parallelism=3)
        advise(engine, spec, complete=True)
        advise(engine, spec, facts(1), facts(2), facts(3), slots=0)
        arrivals = told + shuffle.sample(told, shuffle.randint(0, len(told)))
        shuffle.shuffle(arrivals)
        for chunk in chunks(arrivals, shuffle):
            together = (facts(number, "Running", observation) for number, observation in chunk)
            advise(engine, spec, *together, slots=0)
        dumps.append(dump(store))
    assert dumps[0] == dumps[1] == dumps[2]


def chunks(items: list[Any], shuffle: random.Random) -> Iterator[list[Any]]:
    start = 0
    while start < len(items):
        size = shuffle.randint(1, 4)
        yield items[start : start + size]
        start += size


# --- trouble --------------------------------------------------------------------------------------------------


class FaultyStore(Store):
    """A store whose disk fills up now and then, after some rows were written or before."""

    def __init__(self) -> None:
        super().__init__(open_store()._engine)
        self.fails = False

    def save(self, key: str, changes: Changes) -> int:
        if self.fails:
            raise StoreError("the store cannot be written: database or disk is full")
        return super().save(key, changes)


def test_an_exchange_that_cannot_be_stored_has_not_happened() -> None:
    store = FaultyStore()
    engine, spec = Engine(store), a_spec()
    store.fails = True
    with pytest.raises(StoreError):
        advise(engine, spec, complete=True)
    with pytest.raises(UnknownExperimentError):
        advise(engine, spec)
    store.fails = False
    first = advise(engine, spec, complete=True)
    store.fails = True
    with pytest.raises(StoreError, match="disk is full"):
        advise(engine, spec, facts(1, "Succeeded", report(1, 0.5)), facts(2), request_id="again")
    assert [record.phase for record in engine.records(KEY)] == [Phase.PENDING, Phase.PENDING]
    store.fails = False
    assert advise(engine, spec).assignments == first.assignments
    advice = advise(engine, spec, facts(1, "Succeeded", report(1, 0.5)), facts(2), request_id="again")
    assert numbers(advice) == [3]


def test_two_engines_on_one_store_give_no_number_twice() -> None:
    store, spec = open_store(), a_spec(parallelism=1)
    first, second = Engine(store), Engine(store)
    assert numbers(advise(first, spec, complete=True)) == [1]
    assert numbers(advise(second, spec, facts(1, "Succeeded", report(1, 0.5)))) == [2]
    assert numbers(advise(first, spec, facts(2, "Succeeded", report(1, 0.4)))) == [3]
    assert [r.phase for r in second.records(KEY)] == [Phase.SUCCEEDED, Phase.SUCCEEDED, Phase.PENDING]
