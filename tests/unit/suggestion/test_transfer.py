"""Warm starts: which earlier experiments, what is taken of them, when, and what is refused with which words."""

from pathlib import Path
from typing import Any

import pytest

from builders.experiments import a_choice, a_float, a_scheduler, an_experiment_spec, an_int, an_objective
from builders.simulated_operator import SimulatedOperator
from builders.transfer import TASK, a_study, best_after, finish, run, task, warm
from podium_contract.experiment import ExperimentSpec
from podium_contract.lifecycle import Phase
from podium_contract.names import experiment_key
from podium_contract.wire import AdviceRequest, TrialFacts
from podium_suggestion.engine import Engine
from podium_suggestion.store import Store, open_store
from podium_suggestion.study import Study
from podium_suggestion.transfer.choosing import inherit
from podium_suggestion.transfer.inheritance import Inheritance


@pytest.fixture
def store() -> Store:
    return open_store()


def spec_of(**search: Any) -> ExperimentSpec:
    return an_experiment_spec(parameters=TASK, search={"algorithm": "tpe", **search})


def inherited(store: Store, spec: ExperimentSpec, namespace: str = "study") -> Inheritance:
    return inherit(experiment_key(namespace, "new", "0"), spec, [store])


def refusal(study: Study) -> str:
    assert study.ask() is None
    assert study.is_finished
    assert study.records() == []
    assert study.advice.refused is not None
    return study.advice.refused


class TestStartingPoints:
    def test_they_come_first_and_say_whose_they_were(self, store: Store) -> None:
        losses = run(store, "old", task())
        study = a_study(store, search=warm("random", "old", startingPoints=2))
        first = study.ask()
        assert first is not None
        assert task()(first.parameters) == min(losses)
        number = losses.index(min(losses)) + 1
        assert study.records()[0].origin == f"proposed by random: trial {number} of old"

    @pytest.mark.option("search.warmStart.startingPoints")
    @pytest.mark.parametrize("count", [0, 1, 4])
    def test_there_are_as_many_as_asked_for_and_they_are_unlike(self, store: Store, count: int) -> None:
        run(store, "old", task(), search="tpe", max_trials=40)
        points = inherited(store, spec_of(warmStart={"experiments": ["old"], "startingPoints": count})).starting_points
        assert len(points) == count
        for index, one in enumerate(points):
            for other in points[:index]:
                gaps = [abs(one.parameters[name] - other.parameters[name]) for name in ("x", "y", "z")]  # type: ignore[operator]
                assert max(gaps) >= 0.1 or one.parameters["kind"] != other.parameters["kind"]

    def test_each_source_would_have_found_one_good(self, store: Store) -> None:
        """Two sources whose optima are far apart: the first two points serve one each."""
        run(store, "left", task(-0.2), max_trials=60)
        run(store, "right", task(0.25), max_trials=60)
        points = inherited(store, spec_of(warmStart={"experiments": ["left", "right"]})).starting_points
        tried = [point.parameters for point in points[:2]]
        for shift in (-0.2, 0.25):
            assert min(task(shift)(parameters) for parameters in tried) < 0.25

    def test_the_manifests_points_and_the_defaults_come_before_them(self, store: Store) -> None:
        run(store, "old", task())
        parameters = [{**parameter, "default": parameter.get("values", [0.5])[0]} for parameter in TASK]
        point = {"x": 0.1, "kind": "poor"}
        search = warm("random", "old", startingPoints=1) | {"points": [point]}
        study = a_study(store, search=search, parameters=parameters, max_trials=4)
        works = []
        while (work := study.ask()) is not None:
            works.append(work.parameters)
            finish(study, work, task()(work.parameters))
        origins = [record.origin.partition(": ")[2] for record in study.records()]
        assert origins[:2] == ["point 1 of the manifest", "the parameters' defaults"]
        assert origins[2].endswith("of old")
        assert works[0] == {"x": 0.1, "y": 0.5, "z": 0.5, "kind": "poor"}

    def test_a_configuration_that_failed_is_none(self, store: Store) -> None:
        study = a_study(store, "old", max_trials=3)
        for _ in range(2):
            work = study.ask()
            assert work is not None
            study.fail(work.number, "crashed")
        work = study.ask()
        assert work is not None
        finish(study, work, 5.0)
        points = inherited(store, spec_of(warmStart={"experiments": ["old"]})).starting_points
        assert [point.parameters for point in points] == [work.parameters]

    def test_new_parameters_stay_open(self, store: Store) -> None:
        run(store, "old", task())
        study = a_study(store, parameters=[*TASK, an_int("depth", 1, 9)], search=warm("random", "old"))
        work = study.ask()
        assert work is not None
        assert work.parameters["depth"] in range(1, 10)


class TestSources:
    @pytest.mark.option("search.warmStart.experiments")
    @pytest.mark.parametrize("names", [["one"], ["two", "one"]])
    def test_only_those_named_are_learnt_from(self, store: Store, names: list[str]) -> None:
        for name in ("one", "two", "three"):
            run(store, name, task())
        found = inherited(store, spec_of(warmStart={"experiments": names}))
        assert {source.experiment for source in found.sources} == {f"study/{name}/0" for name in names}
        assert {point.origin.split(" of ")[1] for point in found.starting_points} <= set(names)

    def test_only_the_own_namespace_is_read(self, store: Store) -> None:
        run(store, "old", task())
        spec = spec_of(warmStart={"experiments": ["old"]})
        assert inherited(store, spec).refused is None
        assert "got old, which is not there" in (inherited(store, spec, namespace="other").refused or "")
        assert "which is not there" in (inherited(store, spec, namespace="stud").refused or "")

    def test_stores_beside_are_read_too(self, store: Store) -> None:
        run(store, "old", task())
        spec = spec_of(warmStart={"experiments": ["old"]})
        (source,) = inherit("study/new/0", spec, [open_store(), store]).sources
        assert source.experiment == "study/old/0"

    def test_an_experiment_does_not_learn_from_itself(self, store: Store) -> None:
        run(store, "old", task())
        spec = spec_of(warmStart={"experiments": ["old"]})
        assert inherit("study/old/0", spec, [store]).refused
        assert inherit("study/old/another-uid", spec, [store]).sources

    def test_trials_rank_by_the_new_experiments_objective(self, store: Store) -> None:
        study = a_study(store, "old", objectives=[an_objective("loss"), an_objective("size", "maximize")])
        for size in (1.0, 3.0, 2.0):
            work = study.ask()
            assert work is not None
            study.tell(work.number, 1, {"loss": size, "size": size})
            study.finish(work.number)
        search = {"algorithm": "tpe", "warmStart": {"experiments": ["old"]}}
        for objective, order in ((an_objective("loss"), [1, 3, 2]), (an_objective("size", "maximize"), [2, 3, 1])):
            spec = an_experiment_spec(parameters=TASK, objectives=[objective], search=search)
            (source,) = inherited(store, spec).sources
            assert [trial.number for trial in source.trials] == order
            assert source.trials[0].score < source.trials[1].score < source.trials[2].score

    def test_scores_do_not_depend_on_the_scale_of_the_source(self, store: Store) -> None:
        run(store, "small", task())
        run(store, "large", task(scale=1e6, offset=-5e7))
        one, other = inherited(store, spec_of(warmStart={"experiments": ["small", "large"]})).sources
        assert one.trials == other.trials

    def test_a_half_trained_source_ranks_by_its_rungs(self, store: Store) -> None:
        spec = an_experiment_spec(parameters=TASK, scheduler=a_scheduler("asha", 1, 9), max_trials=9)
        operator = SimulatedOperator(Engine(store), spec, lambda parameters, _: {"loss": task()(parameters)})
        operator.run()
        (source,) = inherit("default/new/1", spec_of(warmStart={"experiments": ["demo"]}), [store]).sources
        assert len(source.trials) == 9

    def test_many_trials_are_taken_in_part_the_best_half_of_them_whole(self, store: Store) -> None:
        run(store, "old", task(), max_trials=200)
        (source,) = inherited(store, spec_of(warmStart={"experiments": ["old"]})).sources
        scores = [trial.score for trial in source.trials]
        assert len(scores) == 150
        assert scores == sorted(scores)
        assert scores[74] < -0.2
        assert scores[-1] > 2.0


class TestRefusals:
    def test_a_missing_source(self, store: Store) -> None:
        run(store, "old", task())
        words = refusal(a_study(store, search=warm("tpe", "old", "older")))
        assert (
            "spec.search.warmStart.experiments: a source is an experiment of this namespace in the same store" in words
        )
        assert "got older, which is not there; run it first" in words

    def test_another_goal(self, store: Store) -> None:
        run(store, "old", task(), objectives=[an_objective("loss", "maximize")])
        words = refusal(a_study(store, search=warm("tpe", "old")))
        assert "got old, which has the objectives loss to maximize, but not loss to minimize" in words

    def test_no_shared_parameter(self, store: Store) -> None:
        a = Study.create([a_float()], [an_objective()], search="random", max_trials=1, store=store, name="old")
        assert a.ask() is not None
        assert "shares no parameter by name and type" in refusal(a_study(store, search=warm("tpe", "old")))

    def test_no_result(self, store: Store) -> None:
        assert a_study(store, "old").ask() is not None
        assert "no trial with a usable result yet; wait" in refusal(a_study(store, search=warm("tpe", "old")))

    def test_no_result_within_the_ranges(self, store: Store) -> None:
        run(store, "old", task())
        parameters = [a_float("x", 2.0, 3.0, "linear"), *TASK[1:]]
        words = refusal(a_study(store, parameters=parameters, search=warm("tpe", "old")))
        assert "no trial within this experiment's ranges" in words

    def test_a_refusal_is_for_good(self, store: Store) -> None:
        """What an experiment began with never changes, so that a later source does not bring it to life."""
        refusal(a_study(store, search=warm("tpe", "old")))
        run(store, "old", task())
        refusal(a_study(store, search=warm("tpe", "old")))

    def test_an_experiment_that_already_has_trials_goes_on_without_a_source_that_is_lost(self, store: Store) -> None:
        run(store, "old", task())
        search = warm("random", "old", "lost", startingPoints=1)
        spec = an_experiment_spec(parameters=TASK, search=search, parallelism=2)
        told = TrialFacts(number=1, phase=Phase.RUNNING, parameters={"x": 0.1, "y": 0.1, "z": 0.1, "kind": "good"})
        request = AdviceRequest(
            experiment="study/new/1", request_id="1", spec=spec, slots=2, facts=(told,), complete=True
        )
        advice = Engine(store).advise(request)
        assert advice.refused is None
        assert [assignment.number for assignment in advice.assignments] == [2]


class TestFeatures:
    def features(self, rows: float, **more: float) -> dict[str, Any]:
        return {"algorithm": "random", "metaFeatures": {"rows": rows, "classes": 10, **more}}

    def begun(self, store: Store, rows: float, **warm_start: Any) -> Inheritance:
        return inherited(store, spec_of(metaFeatures={"rows": rows, "classes": 10}, warmStart=warm_start))

    @pytest.mark.option("search.metaFeatures", "search.warmStart.maxExperiments")
    def test_the_most_alike_are_chosen_and_weigh_the_most(self, store: Store) -> None:
        for name, rows in (("tiny", 100), ("small", 1_000), ("large", 1_000_000)):
            run(store, name, task(), search=self.features(rows))
        run(store, "unsaid", task())
        names = [source.experiment for source in self.begun(store, 2_000, maxExperiments=2).sources]
        assert names == ["study/small/0", "study/tiny/0"]
        sources = self.begun(store, 1_000_000).sources
        assert [source.experiment for source in sources] == ["study/large/0", "study/small/0", "study/tiny/0"]
        assert sources[0].similarity == 1.0 > sources[1].similarity > sources[2].similarity > 0.0

    def test_the_portfolio_is_that_of_the_most_alike(self, store: Store) -> None:
        run(store, "near", task(-0.2), search=self.features(1_000))
        run(store, "far", task(0.25), search=self.features(1_000_000))
        for rows, origin in ((900, "of near"), (1_100_000, "of far")):
            assert self.begun(store, rows).starting_points[0].origin.endswith(origin)

    def test_those_that_do_not_fit_are_passed_over_and_nobody_is_no_fault(self, store: Store) -> None:
        assert self.begun(store, 100) == Inheritance()
        run(store, "other", task(), search=self.features(100), objectives=[an_objective("error")])
        assert self.begun(store, 100) == Inheritance()

    def test_named_experiments_weigh_by_features_where_all_state_them(self, store: Store) -> None:
        run(store, "near", task(), search=self.features(1_000))
        run(store, "far", task(), search=self.features(1_000_000))
        alike = {s.experiment: s.similarity for s in self.begun(store, 1_000, experiments=["near", "far"]).sources}
        assert alike["study/near/0"] == 1.0 > alike["study/far/0"]
        unsaid = spec_of(warmStart={"experiments": ["near", "far"]})
        assert [source.similarity for source in inherited(store, unsaid).sources] == [1.0, 1.0]


class TestOnce:
    def test_what_sources_become_later_changes_nothing(self, tmp_path: Path) -> None:
        """The same experiment, left alone and with its source going on and then forgotten in the middle of it."""

        def told(folder: Path, *, disturbed: bool) -> list[Any]:
            url = f"sqlite:///{folder / 'podium.db'}"
            store = open_store(url)
            run(store, "old", task(), max_trials=12)
            search = warm("tpe", "old", settings={"startupTrials": 6})
            study = a_study(store, search=search, max_trials=12)
            for turn in range(12):
                work = study.ask()
                assert work is not None
                finish(study, work, task(0.05)(work.parameters))
                if disturbed and turn == 3:
                    run(store, "old", task(0.3), max_trials=30)
                if disturbed and turn == 6:
                    store.delete("study/old/0")
                if disturbed:
                    store.close()
                    store = open_store(url)
                    study = a_study(store, search=search, max_trials=12)
            return [record.parameters for record in study.records()]

        assert told(tmp_path / "a", disturbed=False) == told(tmp_path / "b", disturbed=True)


SOURCES = {"one": task(0.05), "two": task(-0.05, scale=100.0, offset=7.0), "bad": task(scale=-1.0)}


@pytest.fixture(scope="module")
def earlier() -> list[Store]:
    """Two stores in which two related tasks and one upside down have been searched at random."""
    stores = [open_store() for _ in range(2)]
    for seed, store in enumerate(stores):
        for place, (name, loss) in enumerate(SOURCES.items()):
            run(store, name, loss, max_trials=40, seed=10 * seed + place)
    return stores


def mean_bests(stores: list[Store], name: str, search: Any, max_trials: int) -> list[float]:
    """The least loss after each trial, on average over the stores, with a seed each."""
    curves = [
        best_after(run(store, name, task(), search=search, max_trials=max_trials, seed=seed))
        for seed, store in enumerate(stores)
    ]
    return [sum(column) / len(column) for column in zip(*curves, strict=True)]


@pytest.mark.parametrize("algorithm", ["tpe", "gp", "auto"])
def test_related_tasks_put_a_search_ahead_of_a_cold_one_and_at_its_level_in_half_the_trials(
    algorithm: str, earlier: list[Store]
) -> None:
    cold = mean_bests(earlier, f"cold-{algorithm}", algorithm, 8)
    warmed = mean_bests(earlier, f"warm-{algorithm}", warm(algorithm, "one", "two"), 8)
    assert all(one < other for one, other in zip(warmed, cold, strict=True))
    assert warmed[3] < cold[5]


@pytest.mark.parametrize("algorithm", ["tpe", "gp"])
def test_a_source_that_misleads_costs_little_more_than_its_starting_points(
    algorithm: str, earlier: list[Store]
) -> None:
    """Upside down, the source's best are the worst; what remains of the budget finds what as many cold trials find."""
    cold = mean_bests(earlier, f"plain-{algorithm}", algorithm, 14)
    misled = mean_bests(earlier, f"misled-{algorithm}", warm(algorithm, "bad", startingPoints=3), 20)
    assert misled[-1] < cold[-1] + 0.02


@pytest.mark.option("search.warmStart.learnFromResults")
@pytest.mark.parametrize("algorithm", ["tpe", "gp", "auto"])
def test_without_learning_only_the_starting_points_are_taken(algorithm: str, store: Store) -> None:
    run(store, "old", task(0.05), max_trials=30)
    tried: dict[bool, list[Any]] = {}
    for learns in (True, False):
        search = warm(algorithm, "old", learnFromResults=learns)
        study = a_study(store, f"learns-{learns}", search=search, max_trials=12)
        tried[learns] = []
        while (work := study.ask()) is not None:
            tried[learns].append(work.parameters)
            finish(study, work, task()(work.parameters))
    assert tried[True][:5] == tried[False][:5]
    assert tried[True][5:] != tried[False][5:]


def test_a_source_may_have_another_space(store: Store) -> None:
    """Wider ranges, a choice less and one more, another parameter, a condition: the search runs to its end."""
    old = [a_float("x", 0.0, 2.0, "linear"), a_choice("kind", ["good", "poor", "odd"]), an_int("old", 1, 3)]
    study = Study.create(old, [an_objective()], search="random", max_trials=30, store=store, name="old")
    while (work := study.ask()) is not None:
        finish(study, work, work.parameters["x"])
    new = [*TASK, a_float("extra", 0.0, 1.0, "linear", when={"kind": ["good"]})]
    for algorithm in ("tpe", "gp"):
        study = a_study(store, algorithm, parameters=new, search=warm(algorithm, "old"), max_trials=15)
        while (work := study.ask()) is not None:
            finish(study, work, task()(work.parameters))
        assert len(study.records()) == 15
