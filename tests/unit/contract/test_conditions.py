"""Conditions change when something changed, and remember when it did."""

from datetime import UTC, datetime, timedelta

from podium_contract.conditions import Condition, is_true, set_condition

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


def a_condition(status: str = "True", reason: str = "Running", message: str = "") -> Condition:
    return Condition.model_validate({"type": "Progressing", "status": status, "reason": reason, "message": message})


def test_new_condition_is_dated_now() -> None:
    conditions, changed = set_condition((), a_condition(), NOON)
    assert changed
    assert conditions[0].last_transition_time == NOON
    assert is_true(conditions, "Progressing")


def test_same_condition_again_is_no_change() -> None:
    first, _ = set_condition((), a_condition(), NOON)
    again, changed = set_condition(first, a_condition(), LATER)
    assert not changed
    assert again is first


def test_other_words_keep_the_time_of_the_transition() -> None:
    first, _ = set_condition((), a_condition(), NOON)
    conditions, changed = set_condition(first, a_condition(message="half way"), LATER)
    assert changed
    assert conditions[0].last_transition_time == NOON


def test_other_status_is_a_transition() -> None:
    first, _ = set_condition((), a_condition(), NOON)
    conditions, changed = set_condition(first, a_condition(status="False"), LATER)
    assert changed
    assert conditions[0].last_transition_time == LATER
    assert not is_true(conditions, "Progressing")


def test_conditions_of_other_types_keep_their_place() -> None:
    other = a_condition().model_copy(update={"type": "Suspended"})
    both, _ = set_condition((other,), a_condition(), NOON)
    conditions, _ = set_condition(both, a_condition(status="False"), LATER)
    assert [condition.type for condition in conditions] == ["Suspended", "Progressing"]
