"""Malformed manifests, one per rule: what is wrong, where, and what is said about it.

The API server judges them too (`tests/e2e/test_crds.py`); `is_local` marks those that only Podium itself can judge, because
they are no object at all or break a rule that CEL cannot say: such an Experiment fails with the reason InvalidSpec.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import yaml

from builders.experiments import (
    SOME_CHECKPOINTS,
    a_choice,
    a_float,
    a_manifest,
    a_population,
    a_scheduler,
    a_template,
    a_trial,
    an_int,
    an_objective,
    an_ordinal,
)

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Malformed:
    """One way to get a manifest wrong, and what is said about it."""

    rule: str
    manifest: Manifest | str
    path: str
    words: tuple[str, ...]
    """Parts of the message: the rule, what it got, the remedy."""
    is_local: bool = False


def a_fault(rule: str, path: str, *words: str, **spec: Any) -> Malformed:
    return Malformed(rule, a_manifest(**spec), path, words)


def a_text(rule: str, text: str, *words: str) -> Malformed:
    return Malformed(rule, text, "", words, is_local=True)


def local(case: Malformed) -> Malformed:
    return replace(case, is_local=True)


def with_parameters(rule: str, path: str, parameters: list[Any], *words: str) -> Malformed:
    return a_fault(rule, f"spec.parameters{path}", *words, parameters=parameters)


def with_one(rule: str, path: str, parameter: Manifest, *words: str) -> Malformed:
    return with_parameters(rule, f"[0]{path}", [parameter], *words)


def with_two(rule: str, path: str, parent: Manifest, child: Manifest, *words: str) -> Malformed:
    return with_parameters(rule, f"[1]{path}", [parent, child], *words)


def changed(rule: str, path: str, change: Callable[[Manifest], object], *words: str) -> Malformed:
    manifest = a_manifest()
    change(manifest)
    return Malformed(rule, manifest, path, words)


def with_search(rule: str, path: str, search: Manifest, *words: str) -> Malformed:
    return a_fault(rule, f"spec.search{path}", *words, search=search)


def with_scheduler(rule: str, path: str, scheduler: Manifest, *words: str) -> Malformed:
    return a_fault(rule, f"spec.scheduler{path}", *words, scheduler=scheduler)


def with_trial(rule: str, path: str, *words: str, **trial: Any) -> Malformed:
    return a_fault(rule, f"spec.trial{path}", *words, trial={"template": a_template(), **trial})


def with_metrics(rule: str, path: str, metrics: Any, *words: str) -> Malformed:
    return with_trial(rule, f".metrics{path}", *words, metrics=metrics)


def with_claim(rule: str, path: str, claim: Any, *words: str) -> Malformed:
    checkpoints = {"persistentVolumeClaim": claim}
    return with_trial(rule, f".checkpoints.persistentVolumeClaim{path}", *words, checkpoints=checkpoints)


def with_container(rule: str, path: str, container: Manifest, *words: str) -> Malformed:
    """A fault of the second container, which is the one that trains."""
    second = {"name": "two", "image": "example/two:1", **container}
    template = {"spec": {"containers": [{"name": "one", "image": "example/one:1"}, second]}}
    path = f".template.spec.containers[1]{path}"
    return with_trial(rule, path, *words, template=template, container="two")


OPTIMIZER = a_choice("optimizer", ["sgd", "adam"])
BOMB = "\n".join(["a0: &a0 [1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))])


def with_points(rule: str, path: str, points: list[Any], *words: str, **spec: Any) -> Malformed:
    """A fault of the points of a space with a conditional parameter; CEL does not see points, whose values are anything."""
    parameters = [a_float(), OPTIMIZER, a_float("momentum", 0.0, 0.99, "linear", when={"optimizer": ["sgd"]})]
    search = {"algorithm": "random", "points": points}
    return local(a_fault(rule, f"spec.search.points{path}", *words, parameters=parameters, search=search, **spec))


def _points() -> list[Malformed]:
    child = {"momentum": 0.9}
    return [
        with_points("a point's unknown parameter", "[1].lrr", [{"lr": 0.1}, {"lrr": 0.1}], "'lrr'", "known: lr, opt"),
        with_points("a point out of range", "[0].lr", [{"lr": 0.2}], "value that the parameter", "0.2", "choose"),
        with_points("a point's unknown choice", "[0].optimizer", [{"optimizer": "sdg"}], '"sdg"', "choose"),
        with_points("a point's text for a number", "[0].lr", [{"lr": "0.1"}], '"0.1"', "choose"),
        with_points("a point without a parent", "[0].momentum", [child], "parents", "no 'optimizer'", "add it"),
        with_points(
            "a point with an inactive value",
            "[0].momentum",
            [child | {"optimizer": "adam"}],
            'inactive with optimizer="adam"',
            "0.9",
            "remove it",
        ),
        with_points("a point twice", "[1]", [{"lr": 0.1}, {"lr": 0.1}], "once", "points[0] again", "remove it"),
        with_points(
            "more points than trials",
            "",
            [{"lr": 0.1}, {"lr": 0.01}],
            "each point is a trial",
            "got 2 points for maxTrials=1",
            "raise maxTrials",
            max_trials=1,
        ),
        replace(with_points("an empty point", "[0]", [{}], "at least 1", "add one"), is_local=False),
    ]


def _warm_starts() -> list[Malformed]:
    def with_warm_start(rule: str, path: str, warm_start: Any, *words: str, **more: Any) -> Malformed:
        search = {"algorithm": "tpe", "warmStart": warm_start, **more}
        return with_search(rule, path, search, *words)

    return [
        with_warm_start("a warm start from nothing", ".warmStart", {}, "names experiments", "got neither", "add"),
        with_warm_start("no source", ".warmStart.experiments", {"experiments": []}, "at least 1", "add one"),
        with_warm_start("a source's bad name", ".warmStart.experiments[0]", {"experiments": ["A/b"]}, "match", "A/b"),
        with_warm_start(
            "negative starting points",
            ".warmStart.startingPoints",
            {"experiments": ["a"], "startingPoints": -1},
            "equal to 0",
            "raise it",
        ),
        with_warm_start(
            "a negative feature",
            ".metaFeatures.rows",
            {},
            "equal to 0",
            "got -1",
            "raise it",
            metaFeatures={"rows": -1},
        ),
    ]


def _not_documents() -> list[Malformed]:
    return [
        a_text("not YAML", "spec: [", "YAML", "correct"),
        a_text("a tab for indentation", "spec:\n\tmaxTrials: 1", "YAML", "correct"),
        a_text("a key given twice", "kind: Experiment\nkind: Experiment", "'kind' given twice"),
        a_text("two documents", yaml.safe_dump_all([a_manifest(), a_manifest()]), "one Experiment", "got 2", "keep"),
        a_text("no document", "", "one Experiment", "got 0"),
        a_text("a list", "- 1", "mapping", "got [1]", "start with apiVersion"),
        a_text("a word that some read as a truth value", "values: [on, auto]", "on, a truth value", "quotes"),
        a_text("a letter that Kubernetes takes for a truth value", "values: [x, y]", "y, a truth value", "quotes"),
        a_text("a number without end", f"maxTrials: {'1' * 5000}", "a number of 5000 digits", "shorter"),
        a_text("an unknown YAML tag", "spec: !!python/object:os.system {}", "YAML", "python/object"),
        a_text("an unknown alias", "spec: *nowhere", "YAML", "nowhere"),
        a_text("aliases that multiply", BOMB, "at most 100000 values", "write fewer"),
        a_text("a list that contains itself", "spec: &me [*me]", "at most 100000 values"),
        a_text("endless nesting", "[" * 5000, "sane depth", "flatten"),
    ]


def _heads() -> list[Malformed]:
    return [
        local(
            changed(
                "another apiVersion",
                "apiVersion",
                lambda m: m.update(apiVersion="v1"),
                "must be podium.dev",
                'got "v1"',
            )
        ),
        changed("another kind", "kind", lambda m: m.update(kind="Trial"), "must be Experiment", '"Trial"', "write"),
        changed("no kind", "kind", lambda m: m.pop("kind"), "must be Experiment", "got null"),
        changed("no spec", "spec", lambda m: m.pop("spec"), "required", "add it"),
        changed(
            "a text for the spec", "spec", lambda m: m.update(spec="tune"), "valid mapping", '"tune"', "fields below"
        ),
        changed("no name", "metadata.name", lambda m: m["metadata"].pop("name"), "required", "add it"),
        changed("a name in capitals", "metadata.name", lambda m: m["metadata"].update(name="Demo"), "match", '"Demo"'),
        changed("a name too long", "metadata.name", lambda m: m["metadata"].update(name="d" * 51), "50", "shorten"),
    ]


def _unknown_things() -> list[Malformed]:
    return [
        a_fault(
            "a search by its name alone", "spec.search", "mapping", '"tpe"', "write {algorithm: tpe}", search="tpe"
        ),
        a_fault("a misspelt field", "spec.maxTrial", "no field", "got 5", "did you mean maxTrials?", maxTrial=5),
        changed("a stray field", "extra", lambda m: m.update(extra=1), "no field", "got 1", "remove it"),
        with_one("a stray field of a parameter", ".low", {**a_float(), "low": 1}, "no field", "remove it"),
        with_one("a type that is long", ".type", a_float(type={"a": "b" * 200}), "must be one of", "bbb...'", "choose"),
        with_one("an unknown type", ".type", a_float(type="flaot"), "must be one of", "'flaot'", "choose"),
        with_one("no type", ".type", {"name": "lr", "min": 0, "max": 1}, "required", "add it"),
        with_one("an unknown scale", ".scale", a_float(scale="ln"), "'linear'", '"ln"', "choose"),
        with_search("an unknown search", ".algorithm", {"algorithm": "tpee"}, "one of", "'tpe'", "'tpee'", "choose"),
        with_search("a search without algorithm", ".algorithm", {"seed": 1}, "required", "add it"),
        with_scheduler("an unknown scheduler", ".algorithm", {"algorithm": "asha2", "max": 9}, "'asha'", "'asha2'"),
        with_search(
            "an unknown setting",
            ".settings.candidats",
            {"algorithm": "tpe", "settings": {"candidats": 3}},
            "no field",
            "did you mean candidates?",
        ),
        with_search(
            "another search's setting",
            ".settings.candidates",
            {"algorithm": "grid", "settings": {"candidates": 3}},
            "no field of grid",
            "remove it: grid takes pointsPerParameter",
        ),
        with_search(
            "a setting where there are none",
            ".settings.candidates",
            {"algorithm": "random", "settings": {"candidates": 3}},
            "remove it: random takes no settings",
        ),
        with_search(
            "a setting beside the settings",
            ".startupTrials",
            {"algorithm": "tpe", "startupTrials": 3},
            "write it below settings",
        ),
        with_scheduler(
            "a bound among the settings",
            ".settings.min",
            {"algorithm": "asha", "max": 9, "settings": {"min": 3}},
            "write it beside settings",
        ),
        with_search(
            "a setting in snake case",
            ".settings.startup_trials",
            {"algorithm": "tpe", "settings": {"startup_trials": 3}},
            "did you mean startupTrials?",
        ),
        changed(
            "a field in snake case",
            "spec.max_trials",
            lambda m: m["spec"].update(max_trials=5),
            "did you mean maxTrials?",
        ),
        with_scheduler(
            "another scheduler's setting",
            ".settings.reductionFactor",
            {"algorithm": "median", "max": 9, "settings": {"reductionFactor": 3}},
            "no field",
        ),
        with_one("a categorical with a bound", ".min", a_choice(min=1), "no field", "got 1", "remove"),
        with_one("a number with values", ".values", a_float(values=[1, 2]), "no field", "[1, 2]"),
    ]


def _numbers() -> list[Malformed]:
    return [
        with_one("min above max", ".max", a_float(low=1, high=0.1), "min < max", "min=1, max=0.1", "swap"),
        with_one("min equal to max", ".max", an_int(low=3, high=3), "min < max", "min=3", "swap"),
        with_one("a number without max", ".max", {"name": "lr", "type": "float", "min": 1}, "required", "add it"),
        with_one("log scale from zero", ".min", a_float(low=0.0, high=1.0), "min > 0", "min=0", "scale: linear"),
        with_one("log scale of an int from zero", ".min", an_int(low=0, scale="log"), "min > 0", "min=0"),
        with_one("logit scale up to one", ".max", a_float(low=0.1, high=1.0, scale="logit"), "max < 1", "tighten"),
        with_one("logit scale from zero", ".min", a_float(low=0, high=0.5, scale="logit"), "0 < min", "min=0"),
        with_one("logit scale of an int", ".scale", an_int(scale="logit"), "no logit scale", "use linear or log"),
        with_one("negative step", ".step", a_float(scale="linear", low=0, high=1, step=-0.1), "positive", "got -0.1"),
        with_one("no step at all", ".step", an_int(step=0), "positive", "got 0", "remove it"),
        with_one("step wider than the range", ".step", an_int(step=9), "must not exceed", "got 9", "smaller step"),
        with_one("step on a log scale", ".step", a_float(step=0.01), "linear scale", "scale=log", "remove step"),
        with_one("step of an int on a log scale", ".step", an_int(scale="log", step=2), "linear scale", "got 2"),
        with_one("text for a number", ".min", a_float() | {"min": "0.1"}, "valid number", '"0.1"', "without quotes"),
        with_one("truth for a number", ".min", a_float() | {"min": True}, "valid number", "true", "write a number"),
        with_one("text for a whole number", ".max", an_int() | {"max": "8"}, "integer", '"8"', "without quotes"),
        with_one("truth for a whole number", ".min", an_int(low=True), "integer", "true", "whole number"),
        with_one("a fraction for a whole number", ".max", an_int() | {"max": 2.5}, "integer", "2.5", "whole number"),
        local(with_one("an infinite bound", ".max", a_float(high=math.inf), "finite", "Infinity", "give a number")),
        local(with_one("a bound that is no number", ".min", a_float(low=math.nan), "finite", "NaN", "give a number")),
        with_one("a bound beyond counting", ".max", an_int(high=2**53 + 2), "less than or equal", "lower it"),
        local(with_one("a default outside", ".default", a_float(default=7.0), "value of the parameter", "got 7.0")),
        local(
            with_one(
                "a default off the lattice", ".default", an_int(low=4, high=12, step=2, default=5), "value", "got 5"
            )
        ),
    ]


def _choices() -> list[Malformed]:
    return [
        with_one("no values", ".values", a_choice() | {"values": []}, "at least 1", "[]", "add one"),
        with_one(
            "no list of values", ".values", a_choice() | {"values": "adam"}, "valid list", '"adam"', "write a list"
        ),
        with_one("a choice without values", ".values", {"name": "c", "type": "ordinal"}, "required", "add it"),
        with_one("too many values", ".values", a_choice(values=list(range(1025))), "at most 1024", "remove some"),
        local(
            with_one(
                "values given twice", ".values[2]", an_ordinal(values=[16, 32, 16]), "distinct", "16 twice", "remove"
            )
        ),
        local(with_one("a value and its equal", ".values[1]", an_ordinal(values=[1, 1.0]), "distinct", "1.0 twice")),
        local(with_one("nothing for a value", ".values[1]", a_choice(values=["a", None]), "text", "null", "in quotes")),
        local(with_one("an infinite value", ".values[0]", a_choice(values=[math.inf, "a"]), "finite", "Infinity")),
        local(
            with_one(
                "a default that is no choice", ".default", a_choice(default="lion"), "value of the parameter", '"lion"'
            )
        ),
    ]


def _names() -> list[Malformed]:
    return [
        with_one("a name with a space", ".name", a_float("learning rate"), "match", "learning rate", "letters"),
        with_one("a number for a name", ".name", a_float() | {"name": 5}, "valid string", "got 5", "quotes"),
        with_two("a name twice", ".name", a_float("lr"), an_int("lr"), "once only", "'lr' again", "rename"),
        a_fault("no parameters", "spec.parameters", "at least 1", "[]", "add one", parameters=[]),
        a_fault(
            "too many parameters",
            "spec.parameters",
            "at most 256",
            "remove some",
            parameters=[an_int(f"p{n}") for n in range(257)],
        ),
        with_parameters("a text for a parameter", "[0]", ["lr"], "mapping", '"lr"', "fields below"),
    ]


def _conditions() -> list[Malformed]:
    """What only Podium judges: the values of `when` are lists or mappings, and CEL sees neither."""
    cases = [
        with_one("an unknown parent", ".when.opt", a_float(when={"opt": ["sgd"]}), "names a parameter", "'opt'", "lr"),
        with_one("its own parent", ".when", an_int("a", when={"a": [1]}), "cycle", "a -> a", "remove"),
        with_parameters(
            "parents in a circle",
            "[1].when",
            [an_int("leaf", when={"b": [1]}), an_int("b", when={"a": [1]}), an_int("a", when={"b": [1]})],
            "cycle",
            "b -> a -> b",
            "remove",
        ),
        with_two(
            "a value that the parent cannot take",
            ".when.optimizer[1]",
            OPTIMIZER,
            a_float(when={"optimizer": ["sgd", "sdg"]}),
            "lists values",
            '"sdg"',
            "choose",
        ),
        with_two(
            "a range of a categorical parent",
            ".when.optimizer",
            OPTIMIZER,
            a_float(when={"optimizer": {"min": 1}}),
            "float or int",
            "categorical",
            "list the values",
        ),
        with_two(
            "a range beyond the parent's",
            ".when.depth",
            an_int(high=8),
            a_float(when={"depth": {"min": 9}}),
            "meets its parent's range",
            '{"min": 9.0}',
            "choose bounds",
        ),
        with_two(
            "a condition that is neither list nor range",
            ".when.optimizer",
            OPTIMIZER,
            a_float(when={"optimizer": "sgd"}),
            "list of values or a range",
            '"sgd"',
            "write",
        ),
        with_two(
            "no values of the parent", ".when.optimizer", OPTIMIZER, a_float(when={"optimizer": []}), "list", "[]"
        ),
        with_two("a range without bounds", ".when.depth", an_int(), a_float(when={"depth": {}}), "min, max", "add"),
        with_two(
            "a range the wrong way round",
            ".when.depth",
            an_int(),
            a_float(when={"depth": {"min": 5, "max": 2}}),
            "min <= max",
            "min=5, max=2",
            "swap",
        ),
        with_two(
            "a misspelt range", ".when.depth.mim", an_int(), a_float(when={"depth": {"mim": 2, "max": 3}}), "no field"
        ),
    ]
    return [local(case) for case in cases]


def _objectives() -> list[Malformed]:
    twice = [an_objective(), an_objective()]
    return [
        a_fault("no objective", "spec.objectives", "at least 1", "add one", objectives=[]),
        a_fault("an unknown goal", "spec.objectives[0].goal", '"max"', objectives=[an_objective(goal="max")]),
        a_fault("an objective twice", "spec.objectives[1].metric", "once only", "'loss' again", objectives=twice),
        a_fault(
            "a target in quotes",
            "spec.objectives[0].target",
            "valid number",
            "without quotes",
            objectives=[an_objective(target="0.9")],
        ),
        a_fault("a constraint without bound", "spec.constraints[0]", "min, max", "add", constraints=[{"metric": "ms"}]),
        a_fault(
            "an impossible constraint",
            "spec.constraints[0].max",
            "min <= max",
            "min=2, max=1",
            "swap",
            constraints=[{"metric": "ms", "min": 2, "max": 1}],
        ),
        a_fault(
            "cmaes over a choice",
            "spec.search.algorithm",
            "always active",
            "categorical 'optimizer'",
            "choose auto",
            parameters=[a_float(), a_choice()],
            search={"algorithm": "cmaes"},
        ),
        local(
            a_fault(
                "cmaes over a condition",
                "spec.search.algorithm",
                "always active",
                "conditional 'lr'",
                "choose auto",
                parameters=[an_int(), a_float(when={"depth": {"min": 2}})],
                search={"algorithm": "cmaes"},
            )
        ),
        a_fault(
            "several objectives with a scheduler",
            "spec.scheduler.algorithm",
            "one objective",
            "got 2",
            "remove the scheduler",
            objectives=[an_objective(), an_objective("size")],
            scheduler=a_scheduler(),
        ),
    ]


def _limits() -> list[Malformed]:
    return [
        changed("no limit", "spec.maxTrials", lambda m: m["spec"].pop("maxTrials"), "required", "add it"),
        a_fault("no trials", "spec.maxTrials", "greater than or equal to 1", "got 0", "raise it", max_trials=0),
        a_fault(
            "population without checkpoints",
            "spec.trial.checkpoints",
            "go on from the files of others",
            "got pbt",
            "add checkpoints",
            scheduler=a_population(20, populationSize=4),
            trial=a_trial(),
        ),
        a_fault(
            "fewer trials than members",
            "spec.maxTrials",
            "counts the members",
            "got 4",
            "raise it",
            scheduler=a_population(20, populationSize=8),
            trial=a_trial(checkpoints=SOME_CHECKPOINTS),
            max_trials=4,
        ),
        a_fault("too many trials", "spec.maxTrials", "1000000", "lower it", max_trials=1_000_001),
        a_fault("no parallelism", "spec.parallelism", "greater than or equal to 1", "got 0", parallelism=0),
        a_fault("negative failures", "spec.maxFailedTrials", "equal to 0", "-1", "raise it", max_failed_trials=-1),
        a_fault("no time", "spec.activeDeadlineSeconds", "equal to 1", "got 0", active_deadline_seconds=0),
        a_fault("a word for suspend", "spec.suspend", "valid boolean", '"yes"', "true or false", suspend="yes"),
        with_search("a negative seed", ".seed", {"algorithm": "tpe", "seed": -1}, "greater", "-1", "raise it"),
        with_search("a grid of one point", ".settings.pointsPerParameter", _grid_of(1), "equal to 2", "got 1"),
        with_scheduler("a ladder of one rung", ".max", a_scheduler(low=1, high=1), "min < max", "max=1", "raise max"),
        with_scheduler("a ladder upside down", ".max", a_scheduler(low=9, high=3), "min < max", "min=9, max=3"),
        with_scheduler("a scheduler without maximum", ".max", {"algorithm": "asha", "min": 1}, "required", "add it"),
        with_scheduler("a maximum in quotes", ".max", a_scheduler() | {"max": "81"}, "integer", '"81"', "quotes"),
        with_scheduler("no least budget", ".min", a_scheduler(low=0), "equal to 1", "got 0", "raise it"),
        with_scheduler(
            "a factor that reduces nothing",
            ".settings.reductionFactor",
            a_scheduler(reductionFactor=1),
            "equal to 2",
            "got 1",
        ),
    ]


def _trials() -> list[Malformed]:
    return [
        a_fault("no template", "spec.trial.template", "required", "add it", trial={}),
        with_trial("no pod spec", ".template.spec", "spec.containers", "got {}", "write template", template={}),
        with_trial("no containers", ".template.spec.containers", "spec.containers", "write", template={"spec": {}}),
        with_trial("an unknown container", ".container", "'x'", "choose one of train", container="x"),
        with_trial("negative retries", ".maxRetries", "equal to 0", "-1", "raise it", maxRetries=-1),
        with_container("a container without name", ".name", {"name": None}, "has a name", "null", "name it"),
        with_container(
            "a command in one piece", ".command", {"command": "python x"}, "list of strings", "its own item"
        ),
        with_container("a number in a command", ".command[1]", {"command": ["sleep", 5]}, "got 5", "quotes"),
        with_container("a truth value in args", ".args[0]", {"args": [True]}, "list of strings", "true"),
        with_container(
            "a number in the environment", ".env[0].value", {"env": [{"name": "SIZE", "value": 5}]}, "string", "got 5"
        ),
        with_container("an environment as a mapping", ".env", {"env": {"SIZE": "5"}}, "list of {name", "as a list"),
        with_container("a variable without name", ".env[0]", {"env": [{"value": "5"}]}, "a name and a value"),
        local(
            with_container(
                "an unknown placeholder",
                ".command[1]",
                {"command": ["x", "${depth}"]},
                "names a parameter",
                "${depth}",
                "known: lr",
            )
        ),
        local(
            with_container(
                "an unknown placeholder in the environment",
                ".env[1].value",
                {"env": [{"name": "A", "value": "${lr}"}, {"name": "B", "value": "${HOME}"}]},
                "${HOME}",
                "$${HOME} for the text itself",
            )
        ),
    ]


def _metrics() -> list[Malformed]:
    pattern = {"source": "log", "format": "pattern"}
    return [
        with_metrics("an unknown source", ".source", {"source": "files"}, "'sdk', 'prometheus', 'log'", "'files'"),
        with_metrics("a source alone", "", "sdk", "mapping", '"sdk"', "fields below"),
        with_metrics("a port out of range", ".port", {"source": "sdk", "port": 70000}, "65535", "70000", "lower it"),
        with_metrics("no port", ".port", {"source": "prometheus", "series": {"loss": "l"}}, "required"),
        with_metrics(
            "no series", ".series", {"source": "prometheus", "port": 1, "series": {}}, "at least 1", "add one"
        ),
        with_metrics(
            "a path without slash",
            ".path",
            {"source": "prometheus", "port": 1, "series": {"loss": "l"}, "path": "metrics"},
            "match",
            '"metrics"',
        ),
        with_metrics(
            "a pattern without format", ".pattern", {"source": "log", "pattern": "x"}, "format: pattern", "both"
        ),
        with_metrics("a format without pattern", "", pattern, "format: pattern", "both"),
        local(
            with_metrics("a pattern that is none", ".pattern", {**pattern, "pattern": "("}, "regular expression", '"("')
        ),
        local(
            with_metrics("a pattern without groups", ".pattern", {**pattern, "pattern": "x"}, "'metric' and 'value'")
        ),
        local(
            with_metrics(
                "a series that is no name",
                ".series.loss",
                {"source": "prometheus", "port": 8000, "series": {"loss": "sum(rate(loss[5m]))"}},
                "with labels to equal",
                '"sum(rate(loss[5m]))"',
                'name{label="value"}',
            )
        ),
        local(
            with_metrics(
                "a step that is no series",
                ".step",
                {"source": "prometheus", "port": 8000, "series": {"loss": "loss"}, "step": "the epoch"},
                "with labels to equal",
                '"the epoch"',
            )
        ),
        with_metrics(
            "a metric without series",
            ".series",
            {"source": "prometheus", "port": 8000, "series": {"accuracy": "acc"}},
            "needs a series",
            "'loss'",
            "add it",
        ),
        with_metrics(
            "a negative grace", ".gracePeriodSeconds", {"source": "sdk", "gracePeriodSeconds": -1}, "equal to 0"
        ),
        with_claim("checkpoints nowhere", "", {}, "storage or claimName", "got neither", "give one"),
        with_claim(
            "checkpoints in two places", "", {"storage": "1Gi", "claimName": "c"}, "storage or claimName", "got both"
        ),
        with_claim("a size without sense", ".storage", {"storage": "10 GB"}, "match", '"10 GB"'),
        with_claim("an unknown access", ".accessModes[0]", {"storage": "1Gi", "accessModes": ["RW"]}, "ReadWriteMany"),
    ]


def _grid_of(points: int) -> Manifest:
    return {"algorithm": "grid", "settings": {"pointsPerParameter": points}}


MALFORMED = [
    *_not_documents(),
    *_heads(),
    *_unknown_things(),
    *_numbers(),
    *_choices(),
    *_names(),
    *_conditions(),
    *_objectives(),
    *_limits(),
    *_trials(),
    *_metrics(),
    *_points(),
    *_warm_starts(),
]
