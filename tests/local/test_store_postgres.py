"""The PostgreSQL store: the suite that every store passes, on a server of the tests' own."""

from collections.abc import Iterator
from itertools import count, repeat
from threading import Barrier, Thread

import pytest
import sqlalchemy as sql

from builders.experiments import a_scheduler, a_search, an_experiment_spec
from builders.postgres import NoPostgresError, a_postgres
from builders.simulated_operator import SimulatedOperator, essence
from builders.stores import OpenStore, StoreConformance
from builders.tools import SKIP_NOTHING
from podium_contract.lifecycle import Phase
from podium_contract.wire import Advice, AdviceRequest, TrialFacts
from podium_suggestion.engine import Engine
from podium_suggestion.store import StaleRevisionError, Store, StoreError, open_store

_names = (f"test_{number}" for number in count())


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    try:
        with a_postgres() as urls:
            yield urls
    except NoPostgresError as reason:
        if SKIP_NOTHING:
            raise
        pytest.skip(str(reason))


@pytest.fixture
def url(server: str) -> str:
    """An empty database."""
    name = next(_names)
    engine = sql.create_engine(server.format("postgres").replace("://", "+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return server.format(name)


class TestPostgres(StoreConformance):
    @pytest.fixture
    def open_store_again(self, url: str) -> Iterator[OpenStore]:
        opened: list[Store] = []

        def open_again() -> Store:
            opened.append(open_store(url))
            return opened[-1]

        yield open_again
        for store in opened:
            store.close()


def test_the_same_story_is_told_with_either_store(url: str) -> None:
    spec = an_experiment_spec(
        search=a_search("random", seed=2), scheduler=a_scheduler("asha", 1, 9), max_trials=12, parallelism=2
    )
    stories = []
    for store in (open_store(), open_store(url)):
        operator = SimulatedOperator(
            Engine(store), spec, lambda parameters, step: {"loss": parameters["lr"] + 1 / step}, repeat(2)
        )
        operator.run()
        operator.engine = Engine(store)
        stories.append((operator.log, [essence(record) for record in operator.records()]))
        store.close()
    assert stories[0] == stories[1]


def advise_until_it_works(engine: Engine, request: AdviceRequest) -> Advice:
    """Repeat a request as callers do when the store was written by another over and over."""
    while True:
        try:
            return engine.advise(request)
        except StaleRevisionError:
            continue


def test_two_services_on_one_database_give_no_number_twice(url: str) -> None:
    stores = [open_store(url), open_store(url)]
    spec = an_experiment_spec(search=a_search("random"), max_trials=40, parallelism=40)
    Engine(stores[0]).advise(AdviceRequest(experiment="a/b/c", request_id="found", spec=spec, slots=1, complete=True))
    start = Barrier(2)
    given: list[tuple[int, str]] = []

    def ask(side: int) -> None:
        engine = Engine(stores[side])
        start.wait()
        for turn in range(20):
            request = AdviceRequest(
                experiment="a/b/c",
                request_id=f"{side}-{turn}",
                spec=spec,
                slots=2 + side * 20 + turn,
                facts=(TrialFacts(number=1, phase=Phase.RUNNING, attempt=1),),
            )
            advice = advise_until_it_works(engine, request)
            given.extend((assignment.number, str(assignment.parameters)) for assignment in advice.assignments)

    threads = [Thread(target=ask, args=(side,)) for side in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = {number for number, _ in set(given)}
    assert len(numbers) == len(set(given)), "a number stands for one configuration"
    assert len(numbers) >= 20
    for store in stores:
        store.close()


def test_several_services_may_found_the_tables_at_once(url: str) -> None:
    faults: list[Exception] = []

    def found() -> None:
        try:
            open_store(url).close()
        except StoreError as fault:
            faults.append(fault)

    threads = [Thread(target=found) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(StoreError) as refused:
        open_store("postgresql://podium:secret@/nowhere?host=/nonexistent")
    assert "secret" not in str(refused.value)
