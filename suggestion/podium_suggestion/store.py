"""The store: everything an experiment is, in a database; whatever algorithms derive from it is rebuilt, never stored.

One exchange is one transaction. Each carries the revision it was decided on: if another process has written in between,
nothing is stored and the caller starts again from what is there. SQLite (a file) and PostgreSQL share every statement.
"""

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from podium_contract.experiment import ExperimentSpec
from podium_contract.lifecycle import Phase
from podium_contract.model import number_from_json, number_to_json
from podium_contract.trial import Observation, Parent
from podium_contract.wire import Promote, Stop, Verdict
from podium_suggestion.history import TrialHistory

SCHEMA_VERSION = 2
"""2 added what an experiment inherits."""
KEPT_ANSWERS = 100
"""Answers kept per experiment: a request is repeated within seconds or never."""
_SWEPT_EVERY = 20
"""Exchanges after which older answers are deleted; until then they are found as well."""
_BUSY_SECONDS = 30


class StoreError(RuntimeError):
    """The store cannot be opened, read or written now; nothing of the exchange was stored."""


class StaleRevisionError(StoreError):
    """Another process has written this experiment since it was read; read it again."""


@dataclass(frozen=True)
class GivenVerdict:
    """A verdict, and whether facts have shown that it was carried out."""

    verdict: Verdict
    is_acknowledged: bool = False

    @property
    def key(self) -> tuple[int, str, int]:
        """Return what makes it one: the trial, the kind, and the step (of a stop) or target (of a promotion)."""
        verdict = self.verdict
        return verdict.trial, verdict.kind, verdict.step if isinstance(verdict, Stop) else verdict.target


@dataclass
class Snapshot:
    """All that the store holds of one experiment."""

    spec: ExperimentSpec
    revision: int
    trials: list[TrialHistory]
    """In order of numbers, observations included."""
    acknowledged: set[int]
    """Trials that facts have mentioned."""
    verdicts: list[GivenVerdict]
    """In the order in which they were given."""
    inheritance: str | None = None
    """What it took from earlier experiments when it began, as JSON."""


@dataclass
class Changes:
    """What one exchange adds to the store."""

    spec: ExperimentSpec
    revision: int | None
    """The revision that the exchange was decided on; None founds the experiment."""
    request_id: str
    answer: str
    trials: Sequence[TrialHistory] = ()
    """Trials that are new or changed (their observations apart)."""
    acknowledged: frozenset[int] = frozenset()
    """Those of `trials` that facts have mentioned."""
    observations: Sequence[tuple[int, Observation]] = ()
    """New or corrected reports, with their trials' numbers."""
    verdicts: Sequence[GivenVerdict] = ()
    """New or acknowledged ones."""
    inheritance: str | None = None
    """What the experiment takes from earlier ones; stored when it is founded, and never changed."""


_metadata = sql.MetaData()
_schema = sql.Table("podium_schema", _metadata, sql.Column("version", sql.Integer, nullable=False))
_experiments = sql.Table(
    "experiments",
    _metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("key", sql.Text, nullable=False, unique=True),
    sql.Column("spec", sql.Text, nullable=False),
    sql.Column("revision", sql.Integer, nullable=False),
)
_inheritances = sql.Table(  # apart from the experiments, whose rows are written at every exchange
    "inheritances",
    _metadata,
    sql.Column("experiment_id", sql.ForeignKey("experiments.id"), primary_key=True),
    sql.Column("inheritance", sql.Text, nullable=False),
)
_trials = sql.Table(
    "trials",
    _metadata,
    sql.Column("experiment_id", sql.ForeignKey("experiments.id"), primary_key=True),
    sql.Column("number", sql.Integer, primary_key=True),
    sql.Column("parameters", sql.Text, nullable=False),
    sql.Column("target", sql.BigInteger),
    sql.Column("bracket", sql.Integer, nullable=False),
    sql.Column("parent_trial", sql.Integer),
    sql.Column("parent_step", sql.BigInteger),
    sql.Column("origin", sql.Text, nullable=False),
    sql.Column("phase", sql.Text, nullable=False),
    sql.Column("reason", sql.Text, nullable=False),
    sql.Column("message", sql.Text, nullable=False),
    sql.Column("judged_step", sql.BigInteger),
    sql.Column("is_acknowledged", sql.Boolean, nullable=False),
)
_observations = sql.Table(
    "observations",
    _metadata,
    sql.Column("experiment_id", sql.ForeignKey("experiments.id"), primary_key=True),
    sql.Column("trial", sql.Integer, primary_key=True),
    sql.Column("step", sql.BigInteger, primary_key=True),
    sql.Column("attempt", sql.BigInteger, nullable=False),
    sql.Column("sequence", sql.BigInteger, nullable=False),
    sql.Column("metrics", sql.Text, nullable=False),
    sql.Column("seconds", sql.Float(53)),
)
_verdicts = sql.Table(
    "verdicts",
    _metadata,
    sql.Column("experiment_id", sql.ForeignKey("experiments.id"), primary_key=True),
    sql.Column("trial", sql.Integer, primary_key=True),
    sql.Column("kind", sql.Text, primary_key=True),
    sql.Column("step", sql.BigInteger, primary_key=True),
    sql.Column("position", sql.Integer, nullable=False),
    sql.Column("reason", sql.Text, nullable=False),
    sql.Column("is_acknowledged", sql.Boolean, nullable=False),
)
_answers = sql.Table(
    "answers",
    _metadata,
    sql.Column("experiment_id", sql.ForeignKey("experiments.id"), primary_key=True),
    sql.Column("request_id", sql.Text, primary_key=True),
    sql.Column("revision", sql.Integer, nullable=False),
    sql.Column("answer", sql.Text, nullable=False),
    sql.Index("answers_by_revision", "experiment_id", "revision"),
)

# The statements of every exchange, built once.
_LOOK_UP = (
    sql.select(_experiments.c.revision, _answers.c.answer)
    .outerjoin(
        _answers,
        (_answers.c.experiment_id == _experiments.c.id) & (_answers.c.request_id == sql.bindparam("asked")),
    )
    .where(_experiments.c.key == sql.bindparam("wanted"))
)
_INHERITANCE = sql.select(_inheritances.c.inheritance).where(_inheritances.c.experiment_id == sql.bindparam("of"))
_FOUND = _experiments.insert().returning(_experiments.c.id)
_ADVANCE = (
    _experiments.update()
    .where(_experiments.c.key == sql.bindparam("wanted"), _experiments.c.revision == sql.bindparam("known"))
    .values(spec=sql.bindparam("spec"), revision=sql.bindparam("revision"))
    .returning(_experiments.c.id)
)
_ADD_ANSWER = _answers.insert()
_DROP_ANSWERS = _answers.delete().where(
    _answers.c.experiment_id == sql.bindparam("of"), _answers.c.revision <= sql.bindparam("until")
)


def open_store(url: str = "sqlite://") -> "Store":
    """Open the store at a URL, creating its tables in an empty one: sqlite:///FILE, sqlite:// (in memory) or postgresql://.

    Raises StoreError when it cannot be opened, or was written by a newer Podium.
    """
    try:
        return Store(_engine_of(url))
    except ImportError as fault:
        raise StoreError(f"this store needs a driver, got {fault}; install podium[postgres]") from fault
    except SQLAlchemyError as fault:
        raise StoreError(
            f"the store {_without_password(url)} cannot be opened: {_cause(fault)}; check that it exists and may be written"
        ) from fault


class Store:
    """Reads and writes experiments. Safe to share between threads."""

    def __init__(self, engine: sql.Engine) -> None:
        self._engine = engine
        # An SQLite database in memory lives in one connection, which holds one transaction at a time.
        in_memory = isinstance(engine.pool, StaticPool)
        self._turn: AbstractContextManager[Any] = threading.RLock() if in_memory else nullcontext()
        with engine.connect() as connection, _begin(connection):
            _prepare_schema(connection)

    def look_up(self, key: str, request_id: str = "") -> tuple[int | None, str | None]:
        """Return how many exchanges of an experiment are stored, and the answer that a request was given.

        The first is None for an unknown experiment, the second for a request that is unknown or long past.
        """
        with self._transaction(reading=True) as connection:
            row = connection.execute(_LOOK_UP, {"wanted": key, "asked": request_id}).first()
        return (None, None) if row is None else (row.revision, row.answer)

    def load(self, key: str) -> Snapshot | None:
        """Return all that is stored of an experiment; None when it is unknown."""
        with self._transaction(reading=True) as connection:
            row = connection.execute(sql.select(_experiments).where(_experiments.c.key == key)).first()
            if row is None:
                return None
            trials, acknowledged = _load_trials(connection, row.id)
            return Snapshot(
                spec=ExperimentSpec.model_validate_json(row.spec),
                revision=row.revision,
                trials=trials,
                acknowledged=acknowledged,
                verdicts=_load_verdicts(connection, row.id),
                inheritance=connection.execute(_INHERITANCE, {"of": row.id}).scalar(),
            )

    def experiments_of(self, namespace: str) -> list[str]:
        """Return the keys of the experiments of a namespace, the first one stored first."""
        own = _experiments.c.key.startswith(f"{namespace}/", autoescape=True)
        with self._transaction(reading=True) as connection:
            return list(
                connection.execute(sql.select(_experiments.c.key).where(own).order_by(_experiments.c.id)).scalars()
            )

    def spec_of(self, key: str) -> ExperimentSpec | None:
        """Return an experiment's spec alone; None when it is unknown."""
        with self._transaction(reading=True) as connection:
            spec = connection.execute(sql.select(_experiments.c.spec).where(_experiments.c.key == key)).scalar()
        return None if spec is None else ExperimentSpec.model_validate_json(spec)

    def save(self, key: str, changes: Changes) -> int:
        """Store an exchange as a whole or not at all, and return the new revision."""
        with self._transaction() as connection:
            experiment_id, revision = _advance(connection, key, changes)
            trials = (_trial_row(experiment_id, trial, changes.acknowledged) for trial in changes.trials)
            observations = (_observation_row(experiment_id, *told) for told in changes.observations)
            verdicts = (_verdict_row(experiment_id, given, revision) for given in changes.verdicts)
            _upsert(connection, _trials, trials)
            _upsert(connection, _observations, observations)
            _upsert(connection, _verdicts, verdicts, keep=("position", "reason"))
            answer = {"request_id": changes.request_id, "revision": revision, "answer": changes.answer}
            connection.execute(_ADD_ANSWER, {"experiment_id": experiment_id, **answer})
            if revision % _SWEPT_EVERY == 0:
                connection.execute(_DROP_ANSWERS, {"of": experiment_id, "until": revision - KEPT_ANSWERS})
        return revision

    def delete(self, key: str) -> bool:
        """Forget an experiment; returns whether it was known."""
        with self._transaction() as connection:
            found = connection.execute(sql.select(_experiments.c.id).where(_experiments.c.key == key)).scalar()
            if found is None:
                return False
            for table in (_inheritances, _answers, _verdicts, _observations, _trials):
                connection.execute(table.delete().where(table.c.experiment_id == found))
            connection.execute(_experiments.delete().where(_experiments.c.id == found))
            return True

    def check(self) -> None:
        """Raise StoreError unless the store can be reached."""
        with self._transaction(reading=True) as connection:
            connection.execute(sql.select(_schema.c.version)).all()

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _transaction(self, *, reading: bool = False) -> Iterator[sql.Connection]:
        try:
            with self._turn, self._engine.connect() as connection, _begin(connection, reading=reading):
                yield connection
        except IntegrityError as fault:
            raise StaleRevisionError(f"another process wrote first: {_cause(fault)}") from fault
        except SQLAlchemyError as fault:
            raise StoreError(f"the store cannot be {'read' if reading else 'written'}: {_cause(fault)}") from fault


# --- opening --------------------------------------------------------------------------------------------------


def _engine_of(url: str) -> sql.Engine:
    try:
        parsed = sql.make_url(url)
        kind = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError):
        kind = ""
        parsed = None
    if parsed is not None and kind == "sqlite":
        return _sqlite_engine(parsed)
    if parsed is not None and kind == "postgresql":
        return sql.create_engine(parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    raise StoreError(
        f"a store's URL is sqlite:///FILE or postgresql://HOST/DATABASE, got {_without_password(url)}; correct it"
    )


def _sqlite_engine(url: sql.URL) -> sql.Engine:
    in_memory = url.database in (None, "", ":memory:")
    if in_memory:
        engine = sql.create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    else:
        _make_folder(Path(str(url.database)).parent)
        engine = sql.create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
    sql.event.listen(engine, "connect", _configure_sqlite)
    return engine


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise StoreError(f"the store's folder {folder} cannot be made: {fault.strerror}; choose another") from fault


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we begin transactions ourselves, in _begin
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: sql.Connection, *, reading: bool = False) -> sql.RootTransaction:
    """Begin a transaction, which commits or is rolled back as a context manager.

    An SQLite transaction that reads first and writes later may find that it cannot: writers take the lock at once. A
    listener for the beginning of transactions would do the same, but slows every statement down.
    """
    transaction = connection.begin()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
    return transaction


def _prepare_schema(connection: sql.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sql.text("SELECT pg_advisory_xact_lock(807163)"))  # two services may start at once
    if not sql.inspect(connection).has_table(_schema.name):
        _metadata.create_all(connection)
        connection.execute(_schema.insert(), {"version": SCHEMA_VERSION})
    version = connection.execute(sql.select(_schema.c.version)).scalar_one()
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"this Podium reads stores up to version {SCHEMA_VERSION}, got version {version}; "
            "use the Podium that wrote it, or a newer one"
        )
    if version < SCHEMA_VERSION:
        _metadata.create_all(connection)
        connection.execute(_schema.update().values(version=SCHEMA_VERSION))


def _without_password(url: str) -> str:
    try:
        return sql.make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return f"'{url}'"


def _cause(fault: SQLAlchemyError) -> str:
    """Return the driver's own words in one line, without the statement."""
    return " ".join(str(getattr(fault, "orig", None) or fault).split())


# --- reading --------------------------------------------------------------------------------------------------


def _load_trials(connection: sql.Connection, experiment_id: int) -> tuple[list[TrialHistory], set[int]]:
    query = sql.select(_trials).where(_trials.c.experiment_id == experiment_id).order_by(_trials.c.number)
    rows = connection.execute(query).all()
    trials = {row.number: _trial_of(row) for row in rows}
    query = sql.select(_observations).where(_observations.c.experiment_id == experiment_id)
    for row in connection.execute(query.order_by(_observations.c.trial, _observations.c.step)):
        trials[row.trial].record(_observation_of(row))
    return list(trials.values()), {row.number for row in rows if row.is_acknowledged}


def _trial_of(row: Any) -> TrialHistory:
    return TrialHistory(
        number=row.number,
        assignment=json.loads(row.parameters),
        target=row.target,
        bracket=row.bracket,
        parent=None if row.parent_trial is None else Parent(trial=row.parent_trial, step=row.parent_step),
        origin=row.origin,
        phase=Phase(row.phase),
        reason=row.reason,
        message=row.message,
        judged_step=row.judged_step,
    )


def _observation_of(row: Any) -> Observation:
    # Without validation: it was validated when it was told, and there may be millions.
    metrics = {name: cast("float", number_from_json(value)) for name, value in json.loads(row.metrics).items()}
    return Observation.model_construct(
        attempt=row.attempt, step=row.step, sequence=row.sequence, metrics=metrics, seconds=row.seconds
    )


def _load_verdicts(connection: sql.Connection, experiment_id: int) -> list[GivenVerdict]:
    query = sql.select(_verdicts).where(_verdicts.c.experiment_id == experiment_id)
    rows = connection.execute(query.order_by(_verdicts.c.position, _verdicts.c.trial, _verdicts.c.step))
    return [GivenVerdict(_verdict_of(row), row.is_acknowledged) for row in rows]


def _verdict_of(row: Any) -> Verdict:
    if row.kind == "stop":
        return Stop(trial=row.trial, step=row.step, reason=row.reason)
    return Promote(trial=row.trial, target=row.step, reason=row.reason)


# --- writing --------------------------------------------------------------------------------------------------


def _advance(connection: sql.Connection, key: str, changes: Changes) -> tuple[int, int]:
    """Found the experiment or count its revision up; returns its id and the new revision."""
    spec = changes.spec.model_dump_json(by_alias=True)
    if changes.revision is None:
        founded = connection.execute(_FOUND, {"key": key, "spec": spec, "revision": 1}).scalar_one()
        if changes.inheritance is not None:
            row = {"experiment_id": founded, "inheritance": changes.inheritance}
            connection.execute(_inheritances.insert(), row)
        return founded, 1
    expected = {"wanted": key, "known": changes.revision}
    found = connection.execute(_ADVANCE, {**expected, "spec": spec, "revision": changes.revision + 1}).scalar()
    if found is None:
        raise StaleRevisionError(f"the record of {key} has moved on from revision {changes.revision}")
    return found, changes.revision + 1


def _upsert(
    connection: sql.Connection, table: sql.Table, rows: Iterable[dict[str, Any]], keep: tuple[str, ...] = ()
) -> None:
    """Insert rows, or overwrite those of the same key, columns in `keep` apart."""
    batch = list(rows)
    if batch:
        connection.execute(_upsert_statement(connection.dialect.name, table, keep), batch)


@cache
def _upsert_statement(dialect: str, table: sql.Table, keep: tuple[str, ...]) -> sql.Insert:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(table)
    changing = [column.name for column in table.columns if not column.primary_key and column.name not in keep]
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns), set_={name: statement.excluded[name] for name in changing}
    )


def _trial_row(experiment_id: int, trial: TrialHistory, acknowledged: frozenset[int]) -> dict[str, Any]:
    return {
        "experiment_id": experiment_id,
        "number": trial.number,
        "parameters": json.dumps(trial.assignment, separators=(",", ":")),
        "target": trial.target,
        "bracket": trial.bracket,
        "parent_trial": trial.parent.trial if trial.parent else None,
        "parent_step": trial.parent.step if trial.parent else None,
        "origin": trial.origin,
        "phase": str(trial.phase),
        "reason": trial.reason,
        "message": trial.message,
        "judged_step": trial.judged_step,
        "is_acknowledged": trial.number in acknowledged,
    }


def _observation_row(experiment_id: int, number: int, observation: Observation) -> dict[str, Any]:
    metrics = {name: number_to_json(value) for name, value in observation.metrics.items()}
    return {
        "experiment_id": experiment_id,
        "trial": number,
        "step": observation.step,
        "attempt": observation.attempt,
        "sequence": observation.sequence,
        "metrics": json.dumps(metrics, separators=(",", ":"), sort_keys=True, allow_nan=False),
        "seconds": observation.seconds,
    }


def _verdict_row(experiment_id: int, given: GivenVerdict, revision: int) -> dict[str, Any]:
    trial, kind, step = given.key
    return {
        "experiment_id": experiment_id,
        "trial": trial,
        "kind": kind,
        "step": step,
        "position": revision,
        "reason": given.verdict.reason,
        "is_acknowledged": given.is_acknowledged,
    }
