"""Placeholders are replaced without a shell: arguments arrive exactly as written."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium_contract.template import expand, literal, placeholders_of, substitute

ASSIGNMENT: dict[str, Any] = {"lr": 0.1, "depth": 3, "name": "a b'c\"$d", "betas": [0.9, 0.999], "flag": True}


def arguments(*words: str) -> list[str]:
    replaced: list[str] = substitute({"command": list(words)}, ASSIGNMENT)["command"]
    return replaced


@pytest.mark.parametrize(
    ("word", "result"),
    [
        ("--lr=${lr}", "--lr=0.1"),
        ("${depth}", "3"),
        ("${name}", "a b'c\"$$d"),
        ("${betas}", "[0.9, 0.999]"),
        ("${flag}", "true"),
        ("${lr}:${depth}", "0.1:3"),
        ("$${HOME}", "${HOME}"),
        ("$HOME $(x) `y` *", "$HOME $(x) `y` *"),
    ],
)
def test_word_is_replaced(word: str, result: str) -> None:
    assert arguments(word) == [result]


def test_word_with_an_inactive_parameter_is_left_out() -> None:
    assert arguments("train", "--momentum=${momentum}", "--lr=${lr}") == ["train", "--lr=0.1"]


def test_environment_is_replaced_and_left_out_alike() -> None:
    env = [
        {"name": "LR", "value": "${lr}"},
        {"name": "MOMENTUM", "value": "${momentum}"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ]
    assert [variable["name"] for variable in substitute({"env": env}, ASSIGNMENT)["env"]] == ["LR", "NODE"]


def test_template_itself_is_not_changed() -> None:
    container = {"command": ["${lr}"], "image": "x"}
    substitute(container, ASSIGNMENT)
    assert container == {"command": ["${lr}"], "image": "x"}


def test_placeholders_tell_where_they_stand() -> None:
    container = {"command": ["a", "${x}"], "args": ["${y}${z}"], "env": [{"name": "E", "value": "${x} $${no}"}]}
    places = [("command[1]", "x"), ("args[0]", "y"), ("args[0]", "z"), ("env[0].value", "x")]
    assert list(placeholders_of(container)) == places


@given(st.text())
def test_text_without_placeholders_arrives_as_it_is(text: str) -> None:
    if "${" not in text:
        assert arguments(text) == [text]


# --- what Kubernetes makes of it


@pytest.mark.parametrize(
    ("word", "result"),
    [
        ("$(DATA)/train", "/data/train"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$$(DATA)", "$(DATA)"),
        ("$$$(DATA)", "$/data"),
        ("$$", "$"),
        ("$", "$"),
        ("$HOME ${x} $(", "$HOME ${x} $("),
    ],
)
def test_references_are_read_as_the_kubelet_reads_them(word: str, result: str) -> None:
    assert expand(word, {"DATA": "/data"}) == result


@given(st.text(alphabet="$({)} AB"))
def test_literal_text_survives_the_expansion(text: str) -> None:
    assert expand(literal(text), {"A": "x", "AB": "y"}) == text


@given(st.text(alphabet="$({)} AB"), st.sampled_from(["${x}", "-${x}(A)", "${x}${x}", "$(B)${x}"]))
def test_value_of_a_parameter_survives_substitution_and_expansion(value: str, word: str) -> None:
    (replaced,) = substitute({"args": [word]}, {"x": value})["args"]
    assert expand(replaced, {"A": "a", "B": "b"}) == word.replace("$(B)", "b").replace("${x}", value)
