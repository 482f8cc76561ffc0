"""What low rungs are worth: BOHB models the highest with enough trials alone, all others those that have not misled."""

from itertools import repeat
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from builders.experiments import a_float, a_scheduler, a_search, an_experiment_spec
from builders.simulated_operator import Parameters, SimulatedOperator
from builders.spaces import a_history, with_trial
from podium_contract.lifecycle import Phase
from podium_suggestion.engine import Engine
from podium_suggestion.fidelity import agreement, ranking_at_highest, telling
from podium_suggestion.history import History
from podium_suggestion.ranking import ranking
from podium_suggestion.space import FloatArray
from podium_suggestion.store import open_store


def a_climb(*curves: tuple[float, ...]) -> History:
    """Trials that were pruned where their curves end."""
    history = a_history(a_float())
    for curve in curves:
        with_trial(history, {"lr": 0.001}, *curve, phase=Phase.PRUNED)
    return history


CLIMBED = [(0.5,), (0.4,), (0.1,), (0.3, 0.2, 0.9), (0.2, 0.2, 0.8), (0.6, 0.2, 0.7)]


def test_the_highest_rung_with_enough_trials_orders_them_and_forgets_the_others() -> None:
    assert ranking_at_highest(a_climb(*CLIMBED), enough=3).tolist() == [5, 4, 3]


def test_with_too_few_above_the_rung_below_counts_with_all_that_came_by() -> None:
    assert ranking_at_highest(a_climb(*CLIMBED), enough=4).tolist() == [2, 4, 3, 1, 0, 5]


def test_where_no_rung_has_enough_the_lowest_counts() -> None:
    assert len(ranking_at_highest(a_climb(*CLIMBED), enough=7)) == 6


def test_failed_and_diverged_trials_are_no_part_of_a_rung() -> None:
    history = a_climb(*CLIMBED, (0.1, 0.1, float("nan")))
    with_trial(history, {"lr": 0.001}, 0.1, 0.1, 0.1, phase=Phase.FAILED)
    assert ranking_at_highest(history, enough=3).tolist() == [5, 4, 3]


def test_trials_that_break_a_constraint_rank_last() -> None:
    history = a_history(a_float(), constraints=[{"metric": "latency", "max": 10.0}])
    for loss, latency in ((0.1, 20.0), (0.3, 5.0), (0.2, 5.0)):
        with_trial(history, {"lr": 0.001}, loss=loss, latency=latency)
    assert ranking_at_highest(history, enough=1).tolist() == [2, 1, 0]


def test_nothing_is_ranked_where_nothing_rests() -> None:
    assert len(ranking_at_highest(a_history(a_float()), enough=1)) == 0


# --- rungs that mislead -----------------------------------------------------------------------------------------


def losses_of(*values: float, unknown: int = 0) -> FloatArray:
    """Losses of a level: of the first trials none is known."""
    return np.array([np.nan] * unknown + list(values))


IN_ORDER = np.arange(30.0)
REVERSED = IN_ORDER[::-1].copy()


def test_agreement_is_the_correlation_of_ranks() -> None:
    assert agreement(IN_ORDER, np.exp(IN_ORDER)) == pytest.approx(1.0)
    assert agreement(IN_ORDER, REVERSED) == pytest.approx(-1.0)
    lower, higher = [1.0, 2.0, 2.0, 7.0, 5.0], [2.0, 1.0, 4.0, 4.0, 9.0]
    assert agreement(losses_of(*lower), losses_of(*higher)) == pytest.approx(spearmanr(lower, higher).statistic)


def test_agreement_counts_the_trials_that_have_both_alone() -> None:
    lower, higher = losses_of(3.0, 1.0, 2.0, np.inf, 0.0), losses_of(1.0, 2.0, np.inf, 9.0, unknown=1)
    both = [1, 2, 4]
    assert agreement(lower, higher) == agreement(lower[both], higher[both])


@pytest.mark.parametrize("alike", [losses_of(1.0, 1.0, 1.0), losses_of(1.0, np.nan, np.nan), losses_of(unknown=3)])
def test_trials_that_are_all_alike_tell_nothing_against_a_level(alike: FloatArray) -> None:
    assert agreement(alike, losses_of(1.0, 2.0, 3.0)) == agreement(losses_of(1.0, 2.0, 3.0), alike) == 1.0


def test_a_level_that_misleads_is_left_out() -> None:
    assert [level.tolist() for level in telling([REVERSED, IN_ORDER])] == [IN_ORDER.tolist()]


def test_a_level_that_tells_is_kept() -> None:
    assert len(telling([IN_ORDER + 3.0, IN_ORDER])) == 2


def test_a_level_that_has_nothing_to_do_with_the_higher_one_is_left_out() -> None:
    noise = np.random.default_rng(0).permuted(IN_ORDER)
    assert abs(agreement(noise, IN_ORDER)) < 0.3
    assert len(telling([noise, IN_ORDER])) == 1


def test_levels_are_measured_by_the_highest_one_with_ten_trials() -> None:
    top = np.where(IN_ORDER < 21, np.nan, IN_ORDER)  # nine trials, too few to tell
    assert len(telling([REVERSED, top])) == 2
    assert [len(level) for level in telling([REVERSED, IN_ORDER, top])] == [30, 30]


def test_levels_are_judged_one_by_one() -> None:
    kept = telling([REVERSED, IN_ORDER * 2.0, IN_ORDER])
    assert [level[-1] for level in kept] == [58.0, 29.0]


def test_what_came_to_a_misleading_rung_alone_is_not_ranked() -> None:
    misled = a_climb(*[(1.0 - place / 20, 0.1 + place / 20) for place in range(14)], (0.0,), (2.0,))
    assert ranking(misled).tolist() == list(range(14))


def test_what_came_to_a_telling_rung_alone_is_ranked_among_the_others() -> None:
    told = a_climb(*[(1.0 + place / 20, 0.1 + place / 20) for place in range(14)], (0.0,), (2.0,))
    assert ranking(told).tolist() == [14, *range(14), 15]


@pytest.mark.parametrize("seed", range(2))
def test_tpe_does_not_follow_rungs_that_mislead_by_default(seed: int) -> None:
    proposed = np.array(late_proposals("hyperband", seed))
    assert np.median(np.abs(proposed - 0.8)) < 0.25


# --- BOHB -------------------------------------------------------------------------------------------------------


def misleading(parameters: Parameters, step: int) -> dict[str, float]:
    """The best x moves from 0.2 at the first step to 0.8 at the ninth."""
    return {"loss": (parameters["x"] - 0.2 - 0.6 * min((step - 1) / 8, 1.0)) ** 2 + 1.0 / step}


def late_proposals(scheduler: str, seed: int, **settings: Any) -> list[float]:
    spec = an_experiment_spec(
        parameters=[a_float("x", 0.0, 1.0, "linear")],
        search=a_search("tpe", seed=seed, **settings),
        scheduler=a_scheduler(scheduler, 1, 9),
        max_trials=80,
        parallelism=4,
    )
    operator = SimulatedOperator(Engine(open_store()), spec, misleading, repeat(9))
    operator.run()
    return [trial.parameters["x"] for number, trial in operator.trials.items() if number > 55]


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(3))
def test_bohb_follows_the_highest_rung_where_the_lower_ones_mislead(seed: int) -> None:
    proposed = np.array(late_proposals("hyperband", seed, fidelity="highest"))
    assert np.median(np.abs(proposed - 0.8)) < 0.1


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(3))
def test_the_rung_that_is_modelled_is_the_highest_of_enough_trials(seed: int) -> None:
    """With more trials asked for than ever come to the top the model stays below, where x = 0.2 is best or 0.35."""
    low = np.array(late_proposals("hyperband", seed, fidelity="highest", startupTrials=45))
    high = np.array(late_proposals("hyperband", seed, fidelity="highest", startupTrials=10))
    assert np.median(np.abs(high - 0.8)) < np.median(np.abs(low - 0.8))


def noisy_below(parameters: Parameters, step: int) -> dict[str, float]:
    """A bowl around (0.8, 0.3) that the first steps show through noise as large as itself."""
    noise = np.random.default_rng(int(parameters["x"] * 1e9) + step).standard_normal()
    bowl = (parameters["x"] - 0.8) ** 2 + (parameters["y"] - 0.3) ** 2
    return {"loss": float(bowl + 1.0 / step + 0.3 / step * noise)}


def distance_and_cost(scheduler: str, seed: int, max_trials: int = 80, **search: Any) -> tuple[float, int]:
    """How far the best fully trained trial is from the bottom of the bowl, squared, and the steps that it took."""
    spec = an_experiment_spec(
        parameters=[a_float("x", 0.0, 1.0, "linear"), a_float("y", 0.0, 1.0, "linear")],
        search=a_search(**{"algorithm": "tpe", "seed": seed, **search}),
        scheduler=a_scheduler(scheduler, 1, 27),
        max_trials=max_trials,
        parallelism=4,
    )
    operator = SimulatedOperator(Engine(open_store()), spec, noisy_below, repeat(27))
    operator.run()
    trained = [trial for trial in operator.trials.values() if trial.step == 27]
    best = min(trained, key=lambda trial: trial.reports[-1].metrics["loss"])
    return (best.parameters["x"] - 0.8) ** 2 + (best.parameters["y"] - 0.3) ** 2, operator.trained_steps


@pytest.mark.thorough
def test_model_based_asha_comes_closer_than_bohb_for_less() -> None:
    """Twice as many trials, because ASHA spends half on each: those that Hyperband begins long are left out."""
    bohb = np.array([distance_and_cost("hyperband", seed, fidelity="highest") for seed in range(10)])
    asha = np.array([distance_and_cost("asha", seed, max_trials=160, fidelity="highest") for seed in range(10)])
    assert np.median(asha[:, 0]) < np.median(bohb[:, 0])
    assert np.mean(asha[:, 1]) < np.mean(bohb[:, 1])
