"""What samplers that search around trials share."""

from builders.experiments import an_int
from builders.spaces import a_history, with_trial
from podium_suggestion.history import History
from podium_suggestion.samplers.moves import first_untried
from podium_suggestion.space import FloatArray


def numbers(history: History, *wanted: int) -> FloatArray:
    return history.space.to_unit_many([{"n": number} for number in wanted])


def test_the_first_untried_point_is_taken_however_many_have_been_tried_before_it() -> None:
    history = a_history(an_int("n", 1, 500))
    for number in range(1, 151):
        with_trial(history, {"n": number})
    points = numbers(history, *range(150, 0, -1), 400, 151)
    assert history.space.from_unit(first_untried(history, points)) == {"n": 400}


def test_the_very_first_is_taken_where_all_have_been_tried() -> None:
    history = a_history(an_int("n", 1, 3))
    for number in (1, 2, 3):
        with_trial(history, {"n": number})
    assert history.space.from_unit(first_untried(history, numbers(history, 2, 1, 3))) == {"n": 2}
