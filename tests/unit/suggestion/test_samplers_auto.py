"""Auto: conformance, whom it asks in which experiment and at which stage, and the reasons it gives."""

from typing import Any

import pytest

from builders.experiments import a_choice, a_float, an_int
from builders.spaces import a_history, a_space, with_trial
from podium_contract.algorithms import AutoSettings
from podium_contract.lifecycle import Phase
from podium_contract.parameters import Assignment
from podium_suggestion.history import History
from podium_suggestion.samplers import make_sampler, trial_rng
from podium_suggestion.samplers.auto import SAMPLERS, AutoSampler, Budget, Choice, leader, second
from podium_suggestion.samplers.base import Proposal, suggest
from podium_suggestion.space import Space
from unit.suggestion.sampler_conformance import CONDITIONAL, PLANE, SamplerConformance, bowl, by_lr, median_best

BOX = [a_float(f"x{index}", 0.0, 1.0, "linear") for index in range(5)]
MIXED = [*PLANE, a_choice("c", ["a", "b"])]


class TestAuto(SamplerConformance):
    algorithm = "auto"

    def proposals(self, algorithm: str, parameters: list[Any], loss: Any, seed: int, trials: int) -> list[Assignment]:
        spec = self.a_spec(parameters, search={"algorithm": algorithm, "seed": seed}, max_trials=trials)
        return self.run(spec, trials, loss)[1]

    @pytest.mark.parametrize(
        ("parameters", "loss"), [(PLANE, bowl), (CONDITIONAL, by_lr)], ids=["plane", "conditional"]
    )
    @pytest.mark.thorough
    def test_beats_random_search(self, parameters: list[Any], loss: Any) -> None:
        def best(algorithm: str) -> float:
            return median_best(lambda seed: self.proposals(algorithm, parameters, loss, seed, 30), loss, 5)

        assert best("auto") < 0.6 * best("random")

    @pytest.mark.option("auto.closingShare")
    def test_closing_share_is_how_much_of_the_budget_is_small_steps(self) -> None:
        for share in (0.0, 0.5):
            spec = self.a_spec(PLANE, search={"algorithm": "auto", "settings": {"closingShare": share}}, max_trials=40)
            history, _ = self.run(spec, 40, bowl)
            chooser = AutoSampler(history.space, AutoSettings(closing_share=share), Budget(40, 1), 0)
            asked = [chooser.choice(history, number).sampler for number in range(1, 41)]
            assert asked.count("a small step") == int(share * 40) / 2

    def test_every_origin_says_who_and_why(self) -> None:
        spec = self.a_spec(PLANE, max_trials=30)
        history, sampler = History(Space(spec.parameters), spec.objectives), None
        sampler = make_sampler(spec, history.space)
        origins = []
        for number in range(1, 31):
            proposal = suggest(sampler, history, number, trial_rng(0, number))
            assert isinstance(proposal, Proposal)
            origins.append(proposal.origin)
            self.finish(history, number, proposal.assignment, {"loss": bowl(proposal.assignment)})
        assert origins[0] == "sobol, as 0 of the first 6 results are in"
        assert all(any(origin.startswith(f"{name}, ") for name in SAMPLERS) for origin in origins)
        assert len(set(origins[6:])) > 2

    def test_defaults_are_told_as_such(self) -> None:
        parameters = [a_float("x", 0.0, 1.0, "linear", default=0.5), a_float("y", 0.0, 1.0, "linear", default=0.5)]
        spec = self.a_spec(parameters)
        history = History(Space(spec.parameters), spec.objectives)
        assert suggest(make_sampler(spec, history.space), history, 1, trial_rng(0, 1)) == Proposal(
            {"x": 0.5, "y": 0.5}, "the parameters' defaults"
        )


@pytest.mark.parametrize(
    ("parameters", "number", "leads", "because"),
    [
        (BOX, 100, "gp", "the first 200 trials of 5 ordered parameters are few enough to model each of them"),
        (BOX, 500, "cmaes", "over 200 trials of 5 ordered parameters show the lie of the land"),
        (MIXED, 500, "forest", "over 200 trials of 3 mixed parameters are too many for a Gaussian process"),
        (
            CONDITIONAL,
            1000,
            "forest",
            "over 200 trials of 9 conditional parameters are too many for a Gaussian process",
        ),
        (MIXED, 5000, "tpe", "over 2000 trials of 3 mixed parameters are too many for a forest"),
    ],
    ids=["short", "long", "mixed", "conditional", "huge"],
)
def test_leader_depends_on_space_and_progress(parameters: list[Any], number: int, leads: str, because: str) -> None:
    assert leader(a_space(*parameters), number) == Choice(leads, because)


def test_second_is_never_the_leader() -> None:
    assert all(second(name) != name for name in SAMPLERS)


def choices(history: History, numbers: range, budget: int, parallelism: int = 1, closing: float = 0.2) -> list[Choice]:
    sampler = AutoSampler(history.space, AutoSettings(closing_share=closing), Budget(budget, parallelism), 0)
    return [sampler.choice(history, number) for number in numbers]


def a_line(best: int, count: int = 40) -> History:
    """A history of trials of which number `best` is the best."""
    history = a_history(*MIXED)
    for number in range(1, count + 1):
        with_trial(history, {"x": 0.0, "y": number / 40, "c": "a"}, -100.0 if number == best else float(number))
    return history


def test_second_has_half_of_the_trials_while_the_leader_finds_nothing_better() -> None:
    told = choices(a_line(best=6), range(201, 217), 220, closing=0.0)
    assert sum(choice.sampler == "tpe" for choice in told) >= 8
    assert "as forest has found nothing better for 34 trials" in {choice.why for choice in told}


def test_gaussian_process_keeps_its_trials_for_it_looks_elsewhere_itself() -> None:
    told = [choice.sampler for choice in choices(a_line(best=6), range(41, 57), 100)]
    assert (told.count("gp"), told.count("forest")) == (13, 3)


def test_leader_has_most_of_the_trials() -> None:
    told = [choice.sampler for choice in choices(a_line(best=40), range(41, 61), 100)]
    assert (told.count("gp"), told.count("forest")) == (16, 4)


def test_many_workers_are_served_by_two_models_in_turns() -> None:
    told = choices(a_line(best=40), range(41, 61), 100, parallelism=16)
    assert [choice.sampler for choice in told].count("forest") >= 10
    assert "in turns with gp, as 16 trials run at a time" in {choice.why for choice in told}


@pytest.mark.parametrize("numbers", [range(31, 61), range(181, 201)], ids=["before the end", "closing"])
def test_half_of_the_trials_explore_where_trials_are_stopped_early(numbers: range) -> None:
    history = a_history(*MIXED)
    for number in range(1, 31):
        is_finished = number <= 10
        curve = (number / 10, 5.0 + number / 10) if is_finished else (number / 10,)
        phase = Phase.SUCCEEDED if is_finished else Phase.PRUNED
        with_trial(history, {"x": 0.0, "y": number / 40, "c": "a"}, *curve, phase=phase)
    told = [choice for choice in choices(history, numbers, 200, closing=0.1) if choice.sampler != "a small step"]
    assert [choice.sampler for choice in told].count("sobol") == len(told) / 2
    assert {choice.why for choice in told if choice.sampler != "sobol"} == {
        "as trials of unequal training have an order, but no losses to compare"
    }
    assert {choice.sampler for choice in told} == {"sobol", "tpe"}


def test_trial_that_somebody_kills_on_its_way_leaves_the_search_to_the_models() -> None:
    history = a_history(*MIXED)
    for number in range(1, 31):
        with_trial(history, {"x": 0.0, "y": number / 40, "c": "a"}, 9.0, number / 10)
    with_trial(history, {"x": 0.5, "y": 0.5, "c": "a"}, 1.0, phase=Phase.KILLED)
    assert {choice.sampler for choice in choices(history, range(32, 42), 100)} == {"gp", "forest"}


def test_closing_steps_leave_the_other_trials_to_the_models() -> None:
    told = [choice.sampler for choice in choices(a_line(best=6), range(81, 101), 100)]
    assert told.count("a small step") == 10
    assert (told.count("gp"), told.count("forest")) == (8, 2)


def test_results_that_cannot_be_ranked_do_not_count() -> None:
    """Trials killed short of the first rung have losses, but nobody can compare them with those that got further."""
    history = a_history(*MIXED)
    for number in range(9):
        with_trial(history, {"x": 0.0, "y": number / 40, "c": "a"}, 1.0, phase=Phase.KILLED)
    with_trial(history, {"x": 0.5, "y": 0.5, "c": "a"}, 2.0, 1.0)
    sampler = AutoSampler(history.space, AutoSettings(closing_share=1.0), Budget(20, 1), 0)
    assert all(isinstance(sampler.suggest(history, number, trial_rng(0, number)), Proposal) for number in (11, 12))


def test_small_space_and_small_budget_close_too() -> None:
    history = a_history(an_int("n", 1, 100))
    for number in range(1, 9):
        with_trial(history, {"n": 10 * number}, float(number))
    (choice,) = choices(history, range(9, 10), 10)
    assert choice == Choice("a small step", "as trial 9 is among the last 2")
