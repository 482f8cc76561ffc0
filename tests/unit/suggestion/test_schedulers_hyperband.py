"""Hyperband, bracket by bracket."""

from collections import Counter
from typing import Any

import pytest

from builders.experiments import a_scheduler
from builders.race import Race


def a_race(low: int = 1, high: int = 9, max_trials: int = 1000, **settings: Any) -> Race:
    return Race(scheduler=a_scheduler("hyperband", low, high, **settings), max_trials=max_trials)


def starts_of(race: Race, trials: int) -> list[tuple[int, int, int]]:
    """(bracket, first budget, trials) in the order in which the brackets begin."""
    race.start(trials)
    begun = Counter((trial.bracket, trial.target or 0) for trial in race.history.trials.values())
    return [(bracket, budget, count) for (bracket, budget), count in begun.items()]


def run_all(race: Race) -> list[tuple[int, int]]:
    """Rest everybody at their targets, by number; then promote and rest until nothing moves. Returns the promotions."""
    moves = []
    for number in sorted(race.history.trials):
        race.rest(number, number / 1000)
    while new := race.promote_all(more_trials=False):
        moves += new
        race.dismiss(more_trials=False)
        for number, _ in new:
            race.rest(number, number / 1000)
    return moves


def test_a_round_begins_with_the_bracket_of_the_most_trials() -> None:
    assert starts_of(a_race(1, 81), 143) == [(0, 1, 81), (1, 3, 34), (2, 9, 15), (3, 27, 8), (4, 81, 5)]


def test_rounds_follow_one_another() -> None:
    assert starts_of(a_race(), 44) == [
        (0, 1, 9),
        (1, 3, 5),
        (2, 9, 3),
        (3, 1, 9),
        (4, 3, 5),
        (5, 9, 3),
        (6, 1, 9),
        (7, 3, 1),
    ]


def test_a_last_round_that_is_not_whole_is_shared_out_among_its_brackets() -> None:
    """Of 25 trials the first round takes 17; the 8 that are left are divided as 9 : 5 : 3."""
    assert starts_of(a_race(max_trials=25), 25)[3:] == [(3, 1, 4), (4, 3, 2), (5, 9, 2)]


def test_fewer_trials_than_one_round_takes_are_all_of_a_smaller_round() -> None:
    assert starts_of(a_race(1, 81, max_trials=40), 40) == [(0, 1, 23), (1, 3, 10), (2, 9, 4), (3, 27, 2), (4, 81, 1)]


def test_a_bracket_that_gets_no_trial_is_passed_over() -> None:
    assert starts_of(a_race(max_trials=20), 20)[3:] == [(3, 1, 2), (4, 3, 1)]
    assert starts_of(a_race(max_trials=18), 18)[3:] == [(3, 1, 1)]


def test_raising_the_limit_goes_on_with_the_bracket_that_has_room_now() -> None:
    before, after = a_race(max_trials=8), a_race(max_trials=17)
    before.start(8)
    after.history = before.history
    assert starts_of(after, 9)[:3] == [(0, 1, 4), (1, 3, 2), (2, 9, 3)]


@pytest.mark.parametrize(
    ("bracket", "sizes"), [(0, [81, 27, 9, 3, 1]), (1, [34, 11, 3, 1]), (2, [15, 5, 1]), (3, [8, 2]), (4, [5])]
)
def test_each_bracket_halves_as_the_paper_says(bracket: int, sizes: list[int]) -> None:
    race = a_race(1, 81, max_trials=143)
    race.start(143)
    moves = run_all(race)
    members = [number for number, trial in race.history.trials.items() if trial.bracket == bracket]
    rungs = Counter(target for number, target in moves if number in members)
    assert [len(members), *(rungs[budget] for budget in sorted(rungs))] == sizes


def test_brackets_do_not_compete_with_one_another() -> None:
    race = a_race()
    race.start(17)
    for number in range(1, 10):
        race.rest(number, 0.9)
    for number in range(10, 15):
        race.rest(number, 0.1)
    assert {number for number, _ in race.promote_all()} == {1, 2, 3, 10}


def test_synchronous_brackets_wait_for_full_rungs() -> None:
    race = a_race()
    race.start_and_rest(*[0.5] * 8)
    assert race.promote() is None


# --- the asynchronous form ------------------------------------------------------------------------------------


@pytest.mark.option("hyperband.asynchronous")
def test_asynchronous_brackets_promote_as_soon_as_a_rung_has_a_best_share() -> None:
    race = a_race(asynchronous=True)
    race.start(5)
    lowest = [number for number, trial in race.history.trials.items() if trial.bracket == 0]
    for number in lowest:
        race.rest(number, number / 10)
    assert race.promote_all() == [(lowest[0], 3)]


def test_asynchronous_brackets_share_the_trials_from_the_first_on() -> None:
    race = a_race(asynchronous=True)
    for trials in range(1, 52):
        race.start()
        counts = Counter(trial.bracket for trial in race.history.trials.values())
        assert all(abs(counts[bracket] - trials * size / 17) < 1 for bracket, size in enumerate((9, 5, 3)))


def test_asynchronous_brackets_do_not_compete_with_one_another() -> None:
    race = a_race(asynchronous=True)
    race.start(17)
    brackets = {bracket: [n for n, t in race.history.trials.items() if t.bracket == bracket] for bracket in (0, 1)}
    for number in brackets[0]:
        race.rest(number, 0.9 + number / 1000)
    for number in brackets[1]:
        race.rest(number, 0.1 + number / 1000)
    assert race.promote_all() == [(brackets[1][0], 9), *((number, 3) for number in brackets[0][:3])]


def test_an_asynchronous_bracket_begins_at_its_own_rung() -> None:
    race = a_race(asynchronous=True)
    race.start(17)
    assert {(trial.bracket, trial.target) for trial in race.history.trials.values()} == {(0, 1), (1, 3), (2, 9)}


@pytest.mark.option("hyperband.reductionFactor")
def test_the_reduction_factor_changes_rungs_and_sizes() -> None:
    assert starts_of(a_race(1, 4, reductionFactor=2), 10) == [(0, 1, 4), (1, 2, 3), (2, 4, 3)]
