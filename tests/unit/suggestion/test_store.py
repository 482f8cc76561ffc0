"""The SQLite store: what every store keeps, and what a file can do to it."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql

from builders.experiments import an_experiment_spec
from builders.stores import KEY, OpenStore, StoreConformance, a_report, a_trial, changes
from podium_contract.wire import AdviceRequest
from podium_suggestion.engine import Engine
from podium_suggestion.store import SCHEMA_VERSION, Store, StoreError, open_store


def opener(url: str, request: pytest.FixtureRequest) -> OpenStore:
    def open_again() -> Store:
        store = open_store(url)
        request.addfinalizer(store.close)
        return store

    return open_again


class TestSqliteFile(StoreConformance):
    @pytest.fixture
    def open_store_again(self, tmp_path: Path, request: pytest.FixtureRequest) -> OpenStore:
        return opener(f"sqlite:///{tmp_path / 'podium.db'}", request)


class TestSqliteInMemory(StoreConformance):
    @pytest.fixture
    def open_store_again(self) -> Iterator[OpenStore]:
        store = open_store()
        yield lambda: store
        store.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "podium.db"


def test_a_file_is_synced_at_every_commit(file: Path) -> None:
    store = open_store(f"sqlite:///{file}")
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    store.close()


def test_a_folder_that_does_not_exist_is_made(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'new' / 'folder' / 'podium.db'}")
    store.check()
    store.close()


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://host/db", "oracle://x", "sqlite3:///x", "://"])
def test_an_url_of_no_store_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="a store's URL is sqlite:///FILE or postgresql://HOST/DATABASE, got"):
        open_store(url)


def test_a_password_is_never_shown() -> None:
    with pytest.raises(StoreError) as refused:
        open_store("mysql://user:secret@host/db")
    assert "secret" not in str(refused.value)


def test_a_store_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be"):
        open_store(f"sqlite:///{tmp_path}")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be made"):
        open_store(f"sqlite:///{tmp_path / 'file' / 'podium.db'}")


def test_a_file_that_is_no_database_is_refused_and_left_alone(file: Path) -> None:
    file.write_text("my thesis, chapter one\n" * 100)
    with pytest.raises(StoreError, match="not a database"):
        open_store(f"sqlite:///{file}")
    assert file.read_text().startswith("my thesis")


def test_a_store_of_a_newer_podium_is_refused(file: Path) -> None:
    open_store(f"sqlite:///{file}").close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE podium_schema SET version = ?", (SCHEMA_VERSION + 1,))
    connection.close()
    with pytest.raises(StoreError, match=f"reads stores up to version {SCHEMA_VERSION}, got version"):
        open_store(f"sqlite:///{file}")


def test_a_store_of_an_older_podium_is_brought_up_to_date_with_all_it_holds(file: Path) -> None:
    store = open_store(f"sqlite:///{file}")
    store.save(KEY, changes(trials=[a_trial()]))
    store.close()
    with sqlite3.connect(file) as connection:
        connection.execute("DROP TABLE inheritances")
        connection.execute("UPDATE podium_schema SET version = 1")
    connection.close()
    for _ in range(2):
        store = open_store(f"sqlite:///{file}")
        snapshot = store.load(KEY)
        assert snapshot is not None
        assert [trial.number for trial in snapshot.trials] == [1]
        assert snapshot.inheritance is None
        store.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError):
        open_store(f"sqlite:///{tmp_path / 'podium.db'}")


def test_a_full_disk_loses_nothing_that_was_stored(file: Path) -> None:
    store = open_store(f"sqlite:///{file}")
    store.save(KEY, changes(trials=[a_trial()], observations=[(1, a_report(1, 0.5))]))
    fill_disk(store)
    long = a_trial(2, message="x" * 200_000)
    with pytest.raises(StoreError, match="cannot be written: database or disk is full"):
        store.save(KEY, changes(1, trials=[long]))
    free_disk(store)
    snapshot = store.load(KEY)
    assert snapshot is not None
    assert [trial.number for trial in snapshot.trials] == [1]
    store.save(KEY, changes(1, trials=[long]))
    store.close()


def test_an_engine_goes_on_after_the_disk_was_full(file: Path) -> None:
    store = open_store(f"sqlite:///{file}")
    engine, spec = Engine(store), an_experiment_spec(parallelism=1, search={"algorithm": "random"})
    engine.advise(AdviceRequest(experiment=KEY, request_id="1", spec=spec, slots=1, complete=True))
    fill_disk(store)
    request = AdviceRequest(experiment=KEY, request_id="2", spec=spec, slots=500)
    with pytest.raises(StoreError, match="disk is full"):
        ask_for_more_and_more(engine, request)
    before = [record.number for record in engine.records(KEY)]
    free_disk(store)
    advice = engine.advise(request)
    assert [assignment.number for assignment in advice.assignments][: len(before)] == before
    store.close()


def ask_for_more_and_more(engine: Engine, request: AdviceRequest) -> None:
    for slots in range(1, 100):
        engine.advise(request.model_copy(update={"request_id": f"fill-{slots}", "slots": slots}))


def fill_disk(store: Store) -> None:
    """Let the database grow no further, on connections that exist and on those to come."""

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    store._engine.dispose()
    sql.event.listen(store._engine, "connect", limit)
    store._test_limit = limit  # type: ignore[attr-defined]  # to take it off again


def free_disk(store: Store) -> None:
    sql.event.remove(store._engine, "connect", store._test_limit)  # type: ignore[attr-defined]
    store._engine.dispose()
