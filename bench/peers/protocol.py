"""What Podium's benchmark and a peer's process say to each other: one JSON object a line, a question and its answer.

This file is read on both sides, so it needs nothing but the standard library. Every objective is a loss (lower is better)
and every constraint an excess (at most 0 where it is kept), so that no adapter thinks about goals and bounds. NaN and
infinity travel as the strings that Python's JSON writes.

    {"do": "start", "setting": {...}}           -> {"version": "..."}
    {"do": "ask"}                               -> {"trial": 3, "parameters": {...}} or {"trial": null}
    {"do": "report", "trial": 3, "step": 2, ...} -> {"verdict": "go"}         go, stop or pause
    {"do": "tell", "trial": 3, "losses": [...], "excesses": [...], "seconds": 1.5} -> {}
    {"do": "load", "assignments": [...], "losses": [...]} -> {}

Each answer says in `cpu` how many processor seconds the peer itself took. A question that the peer cannot answer gets
{"error": "..."}, and the process ends.
"""

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

Parameter = dict[str, Any]
"""As in a manifest: name, type, min, max, scale, step, values, when."""
Parameters = dict[str, Any]
"""Values by name; inactive parameters are absent."""


@dataclass(frozen=True)
class Setting:
    """What a peer is to tune, and how."""

    parameters: list[Parameter]
    objectives: int
    constraints: int
    method: str
    """Which of the peer's samplers."""
    scheduler: str
    """Which of its schedulers; empty: every trial is trained in full."""
    seed: int
    trials: int
    """How many there will be at most."""
    workers: int
    steps: int
    """How many make a full training."""


class Peer(Protocol):
    """An adapter: a peer behind five questions."""

    version: str

    def ask(self) -> tuple[int, Parameters] | None:
        """Return a trial to train, new or resumed; None when there is none now."""
        ...

    def report(self, trial: int, step: int, loss: float) -> str:
        """Take in the first objective's loss after a step; return go, stop or pause."""
        ...

    def tell(self, trial: int, losses: list[float], excesses: list[float], seconds: float) -> None:
        """Take in the result of a trial that was trained in full. A loss that is not finite: the training diverged."""
        ...

    def load(self, assignments: list[Parameters], losses: list[float]) -> None:
        """Take in finished trials that came from elsewhere."""
        ...


class NotOffered(RuntimeError):  # noqa: N818  (an answer rather than a fault)
    """The peer has no such method, or not for such a problem; the message says what is missing."""


def serve(make: Callable[[Setting], Peer]) -> None:
    """Answer questions from standard input until it ends. Whatever the peer prints goes to standard error."""
    answers, sys.stdout = sys.stdout, sys.stderr
    peer: Peer | None = None
    for line in sys.stdin:
        question = json.loads(line)
        try:
            start = time.process_time()
            if question["do"] == "start":
                peer = make(Setting(**question["setting"]))
                answer: dict[str, Any] = {"version": peer.version}
            else:
                assert peer is not None, "the first question is start"
                answer = _answer(peer, question)
            answer["cpu"] = time.process_time() - start
        except Exception as error:  # noqa: BLE001  (whatever the peer raises is its answer)
            _write(answers, {"error": f"{type(error).__name__}: {error}"})
            return
        _write(answers, answer)


def _answer(peer: Peer, question: dict[str, Any]) -> dict[str, Any]:
    match question.pop("do"):
        case "ask":
            asked = peer.ask()
            return {"trial": None} if asked is None else {"trial": asked[0], "parameters": asked[1]}
        case "report":
            return {"verdict": peer.report(**question)}
        case "tell":
            peer.tell(**question)
        case "load":
            peer.load(**question)
        case unknown:
            raise ValueError(f"no such question: {unknown}")
    return {}


def _write(file: TextIO, answer: dict[str, Any]) -> None:
    file.write(json.dumps(answer, default=_plain) + "\n")
    file.flush()


def _plain(value: Any) -> Any:
    """Return a number of numpy's as one of Python's."""
    return value.item()


# --- what adapters share --------------------------------------------------------------------------------------


def is_active(parameter: Parameter, chosen: Parameters) -> bool:
    """Answer whether a parameter exists, given its parents' values."""
    return all(
        name in chosen and holds(condition, chosen[name]) for name, condition in parameter.get("when", {}).items()
    )


def holds(condition: Any, value: Any) -> bool:
    """Answer whether a parent's value satisfies a condition: a list of values, or a range."""
    if isinstance(condition, list):
        return value in condition
    return bool(condition.get("min", value) <= value <= condition.get("max", value))


def only_active(parameters: list[Parameter], chosen: Parameters) -> Parameters:
    """Drop the values of parameters that do not exist here: for peers that know no conditions. Parents come first."""
    active: Parameters = {}
    for parameter in parameters:
        if is_active(parameter, active):
            active[parameter["name"]] = chosen[parameter["name"]]
    return active


def lattice_of(parameter: Parameter) -> list[Any] | None:
    """Return the values of a discrete parameter, in order; None for a continuous one."""
    if "values" in parameter:
        return list(parameter["values"])
    step = parameter.get("step") or (1 if parameter["type"] == "int" else None)
    if step is None:
        return None
    count = int((parameter["max"] - parameter["min"]) / step + 1e-9) + 1
    return [_clean(parameter["min"] + index * step) for index in range(count)]


def _clean(value: float) -> float:
    """Return a lattice's value without the noise of binary fractions."""
    return value if isinstance(value, int) else round(value, 12)


def encoded(parameter: Parameter, value: Any) -> Any:
    """Return a value as its number for peers that count a lattice's values from 0; of ints on a log scale, itself."""
    if parameter["type"] == "int" and parameter.get("scale") == "log":
        return value
    values = lattice_of(parameter)
    if values is not None:
        return values.index(value)
    return logit(value) if parameter.get("scale") == "logit" else value


def decoded(parameter: Parameter, number: Any) -> Any:
    """Return the value that a number stands for, the nearest in bounds: `encoded` turned round."""
    low, high = parameter.get("min", 0), parameter.get("max", 0)
    if parameter["type"] == "int" and parameter.get("scale") == "log":
        return int(min(max(round(number), low), high))
    values = lattice_of(parameter)
    if values is not None:
        return values[min(max(round(number), 0), len(values) - 1)]
    value = 1 / (1 + math.exp(-float(number))) if parameter.get("scale") == "logit" else float(number)
    return min(max(value, low), high)


def logit(share: float) -> float:
    return math.log(share / (1 - share))
