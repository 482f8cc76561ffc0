"""Names are built and taken apart again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium_contract.names import (
    experiment_key,
    parse_experiment_key,
    parse_run_name,
    parse_trial_name,
    run_name,
    trial_name,
)

EXPERIMENTS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
NUMBERS = st.integers(1, 10**7)


@given(EXPERIMENTS, NUMBERS)
def test_trial_name_gives_back_what_it_was_built_from(experiment: str, number: int) -> None:
    assert parse_trial_name(trial_name(experiment, number)) == (experiment, number)


@given(EXPERIMENTS, EXPERIMENTS, EXPERIMENTS)
def test_experiment_key_gives_back_what_it_was_built_from(namespace: str, name: str, uid: str) -> None:
    assert parse_experiment_key(experiment_key(namespace, name, uid)) == (namespace, name, uid)


@given(EXPERIMENTS, NUMBERS, st.integers(1, 999))
def test_run_name_gives_back_what_it_was_built_from(experiment: str, number: int, attempt: int) -> None:
    assert parse_run_name(run_name(experiment, number, attempt)) == (experiment, number, attempt)


@given(EXPERIMENTS, NUMBERS, EXPERIMENTS, NUMBERS)
def test_two_trials_never_share_a_name(one: str, number: int, other: str, other_number: int) -> None:
    same_name = trial_name(one, number) == trial_name(other, other_number)
    assert same_name == ((one, number) == (other, other_number))


def test_other_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="is not an experiment's key"):
        parse_experiment_key("default/digits")


@pytest.mark.parametrize("name", ["", "digits", "digits-7", "-00007", "digits-00007-x"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a run's name"):
        parse_run_name(name)
