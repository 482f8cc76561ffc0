"""No configuration twice: what random, Sobol and TPE share."""

import numpy as np

from builders.experiments import a_choice, a_float, an_int
from builders.spaces import a_history, with_trial
from podium_contract.parameters import Assignment
from podium_suggestion.history import History
from podium_suggestion.samplers.base import Exhausted, trial_rng
from podium_suggestion.samplers.distinct import Distinct

NUMBER = an_int("n", 1, 6)


class Stubborn:
    """Proposes the same configuration whatever it is asked."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment

    def propose(self, history: History, number: int, rng: np.random.Generator) -> Assignment:  # noqa: ARG002
        return self._assignment


def test_a_repeated_proposal_gives_way_to_an_untried_configuration() -> None:
    history = a_history(NUMBER)
    sampler = Distinct(history.space, Stubborn({"n": 3}))
    proposed = []
    for number in range(1, 7):
        proposal = sampler.propose(history, number, trial_rng(0, number))
        assert not isinstance(proposal, Exhausted)
        proposed.append(proposal["n"])
        with_trial(history, proposal)
    assert proposed[0] == 3
    assert sorted(proposed) == [1, 2, 3, 4, 5, 6]
    assert sampler.propose(history, 7, trial_rng(0, 7)) == Exhausted(
        "all 6 configurations of the space have been tried"
    )


def test_the_last_untried_of_many_configurations_is_found() -> None:
    history = a_history(an_int("n", 1, 2000))
    for number in range(1, 2001):
        if number != 1234:
            with_trial(history, {"n": number})
    proposal = Distinct(history.space, Stubborn({"n": 1})).propose(history, 2000, trial_rng(0, 2000))
    assert proposal == {"n": 1234}


def test_failed_and_pending_configurations_are_not_repeated_either() -> None:
    history = a_history(a_choice("c", ["a", "b"]))
    with_trial(history, {"c": "a"}, loss=float("nan"))
    assert Distinct(history.space, Stubborn({"c": "a"})).propose(history, 2, trial_rng(0, 2)) == {"c": "b"}


def test_the_finite_part_of_a_space_may_come_again_once_it_is_used_up() -> None:
    space = (a_choice("kind", ["plain", "rich"]), a_float("x", 0, 1, "linear", when={"kind": ["rich"]}))
    history = a_history(*space)
    with_trial(history, {"kind": "plain"})
    proposal = Distinct(history.space, Stubborn({"kind": "plain"})).propose(history, 2, trial_rng(0, 2))
    assert not isinstance(proposal, Exhausted)
    assert proposal["kind"] == "rich"


def test_a_trial_whose_record_was_lost_is_no_configuration_tried() -> None:
    history = a_history(a_choice("only", ["one"]))
    with_trial(history, {})
    assert Distinct(history.space, Stubborn({"only": "one"})).propose(history, 2, trial_rng(0, 2)) == {"only": "one"}
