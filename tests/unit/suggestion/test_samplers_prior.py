"""What models make of earlier experiments: trust by agreement, prior means with exact slopes, nothing where none is due."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.experiments import a_choice, a_float
from builders.spaces import a_space
from podium_suggestion.samplers.base import trial_rng
from podium_suggestion.samplers.gp.kernel import Embedding
from podium_suggestion.samplers.gp.model import GaussianProcess, Hyperparameters
from podium_suggestion.samplers.gp.targets import normal_scores
from podium_suggestion.samplers.prior import Informed, Prior, early, trust, with_prior_mean
from podium_suggestion.space import FloatArray, Space
from podium_suggestion.transfer.inheritance import Source, SourceTrial

SPACE = a_space(
    a_float("x", 0, 1, "linear"),
    a_float("y", 0, 1, "linear"),
    a_choice("kind", ["plain", "rich"]),
    a_float("z", 0, 1, "linear", when={"kind": ["rich"]}),
)


def bowl(assignment: dict[str, Any]) -> float:
    return float((assignment["x"] - 0.3) ** 2 + (assignment.get("z", 0.5) - 0.6) ** 2)


def a_source(
    space: Space = SPACE, shared: tuple[str, ...] = ("x", "kind", "z"), sign: float = 1.0, similarity: float = 1.0
) -> Source:
    """Forty trials of a bowl that know nothing of y."""
    drawn = [space.sample(trial_rng(1, number)) for number in range(40)]
    drawn.sort(key=lambda assignment: sign * bowl(assignment))
    scores = normal_scores(np.arange(len(drawn)))
    trials = tuple(
        SourceTrial(number=place + 1, parameters={n: a[n] for n in shared if n in a}, score=float(score))
        for place, (a, score) in enumerate(zip(drawn, scores, strict=True))
    )
    return Source(experiment="default/old/1", similarity=similarity, shared=shared, trials=trials)


def ranked_points(count: int, seed: int = 2) -> tuple[FloatArray, FloatArray]:
    """Encoded points of the space, best first, and their losses."""
    drawn = sorted((SPACE.sample(trial_rng(seed, number)) for number in range(count)), key=bowl)
    return SPACE.to_unit_many(drawn), np.array([bowl(assignment) for assignment in drawn])


class TestTrust:
    def test_it_is_half_the_similarity_before_any_result(self) -> None:
        assert trust(0.8, np.empty(0), 0) == pytest.approx(0.4)

    @given(st.lists(st.floats(-3, 3), max_size=30), st.floats(0, 1))
    def test_it_is_a_share_of_the_similarity(self, predictions: list[float], similarity: float) -> None:
        assert 0.0 <= trust(similarity, np.array(predictions), len(predictions)) <= similarity

    def test_agreement_raises_and_contradiction_ends_it(self) -> None:
        agreeing = np.linspace(-2, 2, 8)
        assert trust(1.0, agreeing, 8) > 0.5
        assert trust(1.0, -agreeing, 8) == 0.0

    def test_predictions_that_hardly_differ_say_nothing(self) -> None:
        alike = np.linspace(1e-6, -1e-6, 5)
        assert trust(1.0, alike, 0) == pytest.approx(0.5, abs=1e-5)

    def test_it_fades_as_results_become_many(self) -> None:
        agreeing = np.linspace(-2, 2, 30)
        trusts = [trust(1.0, agreeing, count) for count in (10, 20, 100, 1000)]
        assert trusts == sorted(trusts, reverse=True)
        assert trusts[-1] < 0.02


def test_half_of_the_startup_is_enough_with_a_prior() -> None:
    assert [early(count) for count in (1, 2, 9, 10)] == [1, 1, 5, 5]


class TestPrior:
    def test_a_source_upside_down_is_not_listened_to(self) -> None:
        points, _ = ranked_points(10)
        upside_down = Prior(SPACE, [a_source(sign=-1.0)])
        assert upside_down.mean(points) is None
        assert upside_down.beliefs(points) is None

    def test_of_several_sources_those_that_agree_remain(self) -> None:
        points, _ = ranked_points(10)
        mean = Prior(SPACE, [a_source(sign=-1.0), a_source()]).mean(points)
        beliefs = Prior(SPACE, [a_source(sign=-1.0), a_source()]).beliefs(points)
        assert mean is not None
        assert beliefs is not None
        assert len(mean.tasks) == len(beliefs.tasks) == 1

    def test_unlike_data_sets_are_trusted_less(self) -> None:
        points, _ = ranked_points(6)
        trusts = []
        for similarity in (1.0, 0.5):
            mean = Prior(SPACE, [a_source(similarity=similarity)]).mean(points)
            assert mean is not None
            trusts.append(float(mean.factors[0]))
        assert trusts[1] == pytest.approx(trusts[0] / 2)
        assert Prior(SPACE, [a_source(similarity=0.05)]).mean(points) is None

    def test_the_mean_ranks_points_as_the_source_would_and_knows_nothing_of_other_parameters(self) -> None:
        points, losses = ranked_points(6)
        mean = Prior(SPACE, [a_source()]).mean(points)
        assert mean is not None
        fresh, losses = ranked_points(40, seed=9)
        predicted = mean(fresh)
        assert np.corrcoef(predicted, losses)[0, 1] > 0.8
        moved = fresh.copy()
        moved[:, SPACE.index["y"]] = 1.0 - moved[:, SPACE.index["y"]]
        assert np.allclose(mean(moved), predicted)

    def test_the_mean_is_zero_on_average_at_ones_own_trials(self) -> None:
        points, _ = ranked_points(7)
        mean = Prior(SPACE, [a_source()]).mean(points)
        assert mean is not None
        assert mean(points).mean() == pytest.approx(0.0, abs=1e-9)

    def test_a_value_that_the_source_lacks_of_an_unconditional_parameter_does_no_harm(self) -> None:
        space = a_space(a_float("x", 0, 1, "linear"), a_float("z", 0, 1, "linear"))
        source = a_source().model_copy(update={"shared": ("x", "z")})
        points = space.to_unit_many([{"x": 0.1, "z": 0.2}, {"x": 0.9, "z": 0.8}])
        mean = Prior(space, [source]).mean(points)
        assert mean is not None
        assert np.isfinite(mean(points)).all()

    def test_candidates_are_drawn_where_the_sources_good_ones_lay(self) -> None:
        points, _ = ranked_points(6)
        beliefs = Prior(SPACE, [a_source()]).beliefs(points)
        assert beliefs is not None
        uniform = SPACE.encode(trial_rng(0, 1).random((200, SPACE.dimension)))
        drawn = beliefs.with_own_draws(uniform, trial_rng(0, 2))[200:]
        assert 0 < len(drawn) <= 200
        assert beliefs.log_ratio(drawn).mean() > beliefs.log_ratio(uniform).mean() + 0.1
        assert np.isnan(drawn).any(), "what is inactive is absent"


class TestInformed:
    def processes(self) -> tuple[GaussianProcess, FloatArray, FloatArray]:
        points, losses = ranked_points(8)
        targets = (losses - losses.mean()) / losses.std()
        mean = Prior(SPACE, [a_source()]).mean(points)
        embedding = Embedding(SPACE)
        return with_prior_mean(mean, embedding, Hyperparameters.typical(embedding), points, targets), points, targets

    def test_it_meets_its_own_data_whatever_the_prior(self) -> None:
        process, points, targets = self.processes()
        assert isinstance(process, Informed)
        assert np.allclose(process.predict(points)[0], targets, atol=0.02)
        assert np.allclose(process.fitted, process.predict(points)[0])

    def test_its_slopes_are_those_of_finite_differences(self) -> None:
        process, _, _ = self.processes()
        point = SPACE.to_unit({"x": 0.42, "y": 0.37, "kind": "rich", "z": 0.61})
        mean, deviation, by_mean, by_deviation = process.predict_with_slope(point)
        means, deviations = process.predict(point[None])
        assert (mean, deviation) == pytest.approx((means[0], deviations[0]))
        for name in ("x", "y", "z"):
            position, step = SPACE.index[name], 1e-5
            ahead, behind = point.copy(), point.copy()
            ahead[position] += step
            behind[position] -= step
            (high_mean, low_mean), (high_deviation, low_deviation) = process.predict(np.array([ahead, behind]))
            assert by_mean[position] == pytest.approx((high_mean - low_mean) / (2 * step), abs=1e-4)
            assert by_deviation[position] == pytest.approx((high_deviation - low_deviation) / (2 * step), abs=1e-4)

    def test_believing_a_pending_trial_leaves_the_means_and_is_sure_there(self) -> None:
        process, points, _ = self.processes()
        pending = SPACE.encode(trial_rng(4, 1).random((2, SPACE.dimension)))
        believing = process.believing(pending)
        assert np.allclose(believing.predict(pending)[0], process.predict(pending)[0], atol=0.02)
        assert (believing.predict(pending)[1] < process.predict(pending)[1]).all()
        assert np.allclose(believing.predict(points)[0], process.predict(points)[0], atol=0.02)
        assert process.believing(pending[:0]) is process

    def test_without_a_mean_it_is_an_ordinary_process(self) -> None:
        points, losses = ranked_points(8)
        embedding = Embedding(SPACE)
        process = with_prior_mean(None, embedding, Hyperparameters.typical(embedding), points, losses)
        assert type(process) is GaussianProcess
