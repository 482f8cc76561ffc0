"""One suite for every kind of store: SQLite in the unit tests, PostgreSQL in the local ones."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from builders.experiments import an_experiment_spec
from podium_contract.lifecycle import Phase
from podium_contract.trial import Observation, Parent
from podium_contract.wire import Promote, Stop
from podium_suggestion.history import TrialHistory
from podium_suggestion.store import KEPT_ANSWERS, Changes, GivenVerdict, StaleRevisionError, Store

KEY = "default/demo/uid"
SPEC = an_experiment_spec()
OpenStore = Callable[[], Store]


def changes(revision: int | None = None, **more: Any) -> Changes:
    return Changes(**{"spec": SPEC, "revision": revision, "request_id": f"r{revision}", "answer": "{}", **more})


def a_trial(number: int = 1, **more: Any) -> TrialHistory:
    return TrialHistory(number, {"lr": 0.1, "betas": [0.9, 0.999], "name": "ünï ☃"}, **more)


def a_report(step: int, loss: float, **more: Any) -> Observation:
    return Observation(**{"attempt": 1, "step": step, "sequence": step, "metrics": {"loss": loss}, **more})


class StoreConformance:
    """Tests that hold for any store. `open_store_again` opens the same one each time."""

    @pytest.fixture
    def open_store_again(self) -> OpenStore:
        raise NotImplementedError

    def test_an_unknown_experiment_is_none(self, open_store_again: OpenStore) -> None:
        store = open_store_again()
        assert store.load(KEY) is None
        assert store.look_up(KEY, "r1") == (None, None)

    def test_what_an_experiment_inherits_stays_as_it_was_founded_with(self, open_store_again: OpenStore) -> None:
        store = open_store_again()
        store.save(KEY, changes(inheritance='{"sources": []}'))
        store.save(KEY, changes(1, inheritance="something else"))
        snapshot = open_store_again().load(KEY)
        assert snapshot is not None
        assert snapshot.inheritance == '{"sources": []}'

    def test_experiments_are_found_by_their_namespace_in_the_order_of_their_founding(
        self, open_store_again: OpenStore
    ) -> None:
        store = open_store_again()
        for key in ("team/b/1", "team/a/1", "team-2/c/1", "te_m/d/1"):
            store.save(key, changes())
        assert store.experiments_of("team") == ["team/b/1", "team/a/1"]
        assert store.experiments_of("te_m") == ["te_m/d/1"]
        assert store.experiments_of("nobody") == []
        assert store.spec_of("team/a/1") == SPEC
        assert store.spec_of("nobody/a/1") is None

    def test_everything_comes_back_as_it_was_after_a_restart(self, open_store_again: OpenStore) -> None:
        full = a_trial(
            2,
            target=27,
            bracket=3,
            parent=Parent(trial=1, step=9),
            origin="clone of 1",
            phase=Phase.PRUNED,
            reason="StoppedByScheduler",
            message="worse than the median",
            judged_step=4,
        )
        reports = [(1, a_report(1, 0.5)), (2, a_report(1, 0.25, seconds=1.5)), (2, a_report(7, -1e300, attempt=3))]
        verdicts = [
            GivenVerdict(Stop(trial=2, step=4, reason="worse")),
            GivenVerdict(Promote(trial=1, target=9, reason="better"), is_acknowledged=True),
        ]
        open_store_again().save(
            KEY,
            changes(
                trials=[a_trial(1), full],
                acknowledged=frozenset({2}),
                observations=reports,
                verdicts=verdicts,
            ),
        )
        snapshot = open_store_again().load(KEY)
        assert snapshot is not None
        assert snapshot.spec == SPEC
        assert snapshot.revision == 1
        assert snapshot.acknowledged == {2}
        assert {given.key: given for given in snapshot.verdicts} == {given.key: given for given in verdicts}
        first, second = snapshot.trials
        assert (first.number, first.assignment, first.phase) == (1, a_trial().assignment, Phase.PENDING)
        assert first.observations == {1: reports[0][1]}
        assert second.observations == {1: reports[1][1], 7: reports[2][1]}
        assert second.steps == [1]
        for name in ("target", "bracket", "parent", "origin", "phase", "reason", "message", "judged_step"):
            assert getattr(second, name) == getattr(full, name), name

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 5e-324, 0.1 + 0.2])
    def test_numbers_come_back_exactly(self, open_store_again: OpenStore, value: float) -> None:
        open_store_again().save(KEY, changes(trials=[a_trial()], observations=[(1, a_report(1, value))]))
        snapshot = open_store_again().load(KEY)
        assert snapshot is not None
        back = snapshot.trials[0].observations[1].metrics["loss"]
        assert back == value or (math.isnan(back) and math.isnan(value))

    def test_a_later_exchange_overwrites_what_it_changes(self, open_store_again: OpenStore) -> None:
        store = open_store_again()
        stop = Stop(trial=1, step=1, reason="worse")
        store.save(
            KEY, changes(trials=[a_trial()], observations=[(1, a_report(1, 0.5))], verdicts=[GivenVerdict(stop)])
        )
        corrected = a_report(1, 0.4, attempt=2)
        store.save(
            KEY,
            changes(
                1,
                trials=[a_trial(phase=Phase.RUNNING)],
                observations=[(1, corrected)],
                verdicts=[GivenVerdict(stop, is_acknowledged=True)],
            ),
        )
        snapshot = store.load(KEY)
        assert snapshot is not None
        assert snapshot.revision == 2
        assert snapshot.trials[0].phase is Phase.RUNNING
        assert snapshot.trials[0].observations == {1: corrected}
        assert snapshot.verdicts == [GivenVerdict(stop, is_acknowledged=True)]

    def test_an_outdated_writer_stores_nothing(self, open_store_again: OpenStore) -> None:
        first, second = open_store_again(), open_store_again()
        first.save(KEY, changes())
        first.save(KEY, changes(1))
        with pytest.raises(StaleRevisionError):
            second.save(KEY, changes(1, request_id="late", trials=[a_trial()]))
        with pytest.raises(StaleRevisionError):
            second.save(KEY, changes(None, request_id="founds it again", trials=[a_trial()]))
        snapshot = second.load(KEY)
        assert snapshot is not None
        assert snapshot.trials == []
        assert second.look_up(KEY, "late") == (2, None)

    def test_an_exchange_is_stored_as_a_whole_or_not_at_all(self, open_store_again: OpenStore) -> None:
        store = open_store_again()
        store.save(KEY, changes(request_id="same"))
        with pytest.raises(StaleRevisionError):
            # Its answer's id is taken, so the last statement of the transaction fails.
            store.save(KEY, changes(1, request_id="same", trials=[a_trial()], observations=[(1, a_report(1, 0.5))]))
        snapshot = open_store_again().load(KEY)
        assert snapshot is not None
        assert (snapshot.revision, snapshot.trials) == (1, [])

    def test_the_last_answers_are_kept(self, open_store_again: OpenStore) -> None:
        store = open_store_again()
        exchanges = 2 * KEPT_ANSWERS
        for revision in range(exchanges):
            answer = json.dumps({"steps": revision})
            store.save(KEY, changes(revision or None, request_id=f"id-{revision}", answer=answer))
        found = [store.look_up(KEY, f"id-{revision}")[1] for revision in range(exchanges)]
        assert found[KEPT_ANSWERS:] == [json.dumps({"steps": revision}) for revision in range(KEPT_ANSWERS, exchanges)]
        assert found[0] is None
        for revision in (revision for revision in range(exchanges) if found[revision] is None):
            store.save(KEY, changes(store.look_up(KEY)[0], request_id=f"id-{revision}", answer="{}"))

    def test_experiments_do_not_see_each_other(self, open_store_again: OpenStore) -> None:
        store = open_store_again()
        store.save("a/x/1", changes(trials=[a_trial(1)]))
        store.save("b/x/1", changes(trials=[a_trial(1), a_trial(2)]))
        assert store.delete("a/x/1")
        assert not store.delete("a/x/1")
        snapshot = store.load("b/x/1")
        assert snapshot is not None
        assert len(snapshot.trials) == 2
        assert store.load("a/x/1") is None

    def test_odd_text_is_stored(self, open_store_again: OpenStore) -> None:
        odd = "line\nbreak, quote ', percent %s, colon :x, snowman ☃, emoji 🎛"
        trial = TrialHistory(1, {odd: odd}, origin=odd, message=odd)
        open_store_again().save(KEY, changes(trials=[trial], request_id=odd))
        snapshot = open_store_again().load(KEY)
        assert snapshot is not None
        back = snapshot.trials[0]
        assert (back.assignment, back.origin, back.message) == ({odd: odd}, odd, odd)
        assert open_store_again().look_up(KEY, odd) == (1, "{}")

    def test_it_can_be_checked(self, open_store_again: OpenStore) -> None:
        open_store_again().check()
