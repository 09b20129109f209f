"""The database: SQLite on one machine, PostgreSQL for more. Connections, transactions, the clock, and what goes wrong.

Every write is a transaction of its own that holds its locks for milliseconds. SQLite writes one at a time (BEGIN
IMMEDIATE); PostgreSQL runs in READ COMMITTED, where a row that a statement changes stays locked until the commit, which
is what gives each job its events in order. Time is the database's, so that no two machines' clocks are compared.
"""

from __future__ import annotations

import random
import select
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sql
from sqlalchemy import Connection, Engine, RowMapping, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    InvalidatePoolError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from core.codec import decode
from core.errors import InputError, StorageError
from farm.service.errors import Unreachable
from farm.service.migrations import migrate

POSTGRES = "postgresql+psycopg"
BUSY_S = 30  # how long a writer waits for the others
CONNECT_S = 5
POSTGRES_LIMITS = "-c statement_timeout=30000 -c lock_timeout=20000 -c idle_in_transaction_session_timeout=60000"
# By libpq's names; the address may say others. Without the last five, a server that is silent is waited for as long as
# TCP does, a quarter of an hour.
POSTGRES_OPTIONS: Mapping[str, str | int] = {
    "options": POSTGRES_LIMITS,
    "application_name": "farm",
    "connect_timeout": CONNECT_S,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
# 57P: the server goes down or comes up; 08: the connection; 53: out of connections, memory or disk; 40: lost a race
PASSING = ("57P", "08", "53", "40", "55P03", "25006")

IDLE_S = 30.0  # what is silent for longer may have been forgotten by a firewall on the way
NOW_MS = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
BEGAN, IDLE_SINCE = "farm_began_ms", "farm_idle_since_s"

# What a statement asks for as its `now`: the server's time, or what it is given.
SERVERS_NOW: sql.ColumnElement[int] = sql.literal_column(NOW_MS, sql.BigInteger)
GIVEN_NOW: sql.ColumnElement[int] = sql.bindparam("now_ms", type_=sql.BigInteger)

Clock = Callable[[], int]
Row = RowMapping | dict[str, Any]


class Listing:
    """A statement all of whose rows are taken at once; its columns have names of their own. SQLite is asked for one
    text of them all: a thread gives way to the others at each row that it takes by itself."""

    def __init__(self, asked: sql.Select[Any]) -> None:
        self.rows = asked
        self.names = asked.selected_columns.keys()
        # In words of its own: as 30 columns and two functions the statement takes longer to make than to be answered.
        quoted = ", ".join(map(sqlite.dialect().identifier_preparer.quote, self.names))
        text = sql.literal_column(f"json_group_array(json_array({quoted}))", sql.Text)
        self.text = sql.select(text).select_from(asked.subquery())


class Database:
    """Open connections to one database; may be used by any number of threads.

    `clock`, for tests, gives milliseconds since 1970 instead of the database's own.
    """

    def __init__(self, engine: Engine, where: str, clock: Clock | None = None) -> None:
        self.where = where
        self.postgres = engine.dialect.name == "postgresql"
        self._engine = engine
        self._alone = engine.execution_options(farm_alone=True)
        self._clock = clock
        self._writer = threading.Lock()  # SQLite's own waiting is polling, and unfair
        self._doing: set[str] = set()
        self._gate = threading.Lock()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may change rows: committed at the end, rolled back by an exception."""
        with ExitStack() as stack:
            if not self.postgres:
                stack.enter_context(self._writer)
            stack.enter_context(translated(self.where))
            connection = stack.enter_context(self._engine.connect()).execution_options(farm_write=True)
            stack.enter_context(connection.begin())
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that changes nothing."""
        with translated(self.where), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def look(self) -> Iterator[Connection]:
        """For statements that change nothing, each of which is a transaction by itself. The database is not told of
        one: at each word to it a thread gives way to the others, and has to wait for its turn again."""
        with translated(self.where), self._alone.connect() as connection, connection.begin():
            yield connection

    def now_ms(self, connection: Connection) -> int:
        """Milliseconds since 1970, by the database's clock. A server told its time when the transaction began, and
        that stays the answer, however long the transaction waited since. Not for `look`, which begins none: a part
        of the statement asks for the time there (`now`)."""
        assert not connection.get_execution_options().get("farm_alone", False), "no transaction began here"
        return self._given_ms() if self._gives else int(connection.info[BEGAN])

    @property
    def now(self) -> sql.ColumnElement[int]:
        """The same as a part of a statement, which is executed with `given`."""
        return GIVEN_NOW if self._gives else SERVERS_NOW

    def given(self) -> dict[str, int]:
        """The parameters of a statement with `now` in it."""
        return {"now_ms": self._given_ms()} if self._gives else {}

    @property
    def _gives(self) -> bool:
        return not self.postgres or self._clock is not None

    def _given_ms(self) -> int:
        """SQLite's machine is this one, and so is its clock."""
        return self._clock() if self._clock is not None else time.time_ns() // 1_000_000

    def rows(self, connection: Connection, asked: Listing, parameters: Mapping[str, object]) -> Sequence[Row]:
        """All rows that are asked for, in no order."""
        if self.postgres:
            return connection.execute(asked.rows, parameters).mappings().all()
        told = connection.execute(asked.text, parameters).scalar_one()
        return [dict(zip(asked.names, row, strict=True)) for row in decode(told.encode(), list[list[Any]])]

    @contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        """Whether nobody else of this process does `name` at this moment; nobody waits to find out."""
        with self._gate:
            mine = name not in self._doing
            self._doing.add(name)
        try:
            yield mine
        finally:
            if mine:
                with self._gate:
                    self._doing.discard(name)

    def ping(self) -> None:
        """`Unreachable` where the database does not answer."""
        with self.read() as connection:
            connection.execute(sql.text("SELECT 1"))

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_database(url: str, *, clock: Clock | None = None, connections: int = 20) -> Database:
    """The database at `url`, its tables made or brought up to date.

    sqlite:///relative.db, sqlite:////absolute.db, or postgresql://user:password@host/name. `InputError` for another
    address, or a file that is no database; `Unreachable` where no server answers.
    """
    parsed, where = parse_url(url), shown(url)
    if parsed.get_backend_name() == "sqlite":
        engine = sqlite_engine(parsed, connections)
    else:
        options = {name: value for name, value in POSTGRES_OPTIONS.items() if name not in parsed.query}
        engine = postgres_engine(parsed, connections, options)
    database = Database(engine, where, clock)
    try:
        with database.write() as connection:
            migrate(connection, where=where)
    except BaseException:
        database.close()
        raise
    return database


def parse_url(text: str) -> URL:
    """The address of a database; `InputError`, which never shows a password, for one that is not known."""
    hint = "write sqlite:///farm.db or postgresql://user:password@host/name"
    if text.startswith("postgres://"):  # as many providers write it
        text = "postgresql" + text.removeprefix("postgres")
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise InputError("not the address of a database", hint=hint) from error
    backend = url.get_backend_name()
    if backend == "postgresql" and url.drivername in {"postgresql", POSTGRES}:
        return url.set(drivername=POSTGRES)
    if url.drivername not in {"sqlite", "sqlite+pysqlite"}:
        raise InputError(f"{url.drivername} is no database that the service knows", hint=hint)
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise InputError("the service's SQLite database is a file", hint=hint)
    return url.set(database=str(Path(url.database).absolute()))


def shown(url: str) -> str:
    """The address without its password."""
    return parse_url(url).render_as_string(hide_password=True)


def sqlite_engine(url: URL, connections: int) -> Engine:
    """Connections that wait for one another, begin transactions themselves, and lose nothing that was committed."""
    folder = Path(url.database or "").parent
    if not folder.is_dir():
        raise InputError("the database's folder does not exist", where=str(folder), hint="create it first")
    engine = sql.create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=BUSY_S,
        connect_args={"timeout": BUSY_S, "check_same_thread": False, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        del record
        # A cache is each connection's own, and the system has the pages anyway: 2 MiB each would be 40 MiB in time.
        begin_wal(connection)
        for pragma in (
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={BUSY_S * 1000}",
            "cache_size=-512",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if not options.get("farm_alone", False):
            connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("farm_write", False) else "BEGIN")

    return engine


def postgres_engine(url: URL, connections: int, options: Mapping[str, str | int]) -> Engine:
    """Connections that begin transactions themselves, in one message with a question for the time.

    One that comes out of the pool is asked whether it is there where the server has said something meanwhile, such as
    that it shuts down, or where it was idle for long. To ask each time would double the ways to the server; the price
    of not asking is that of a server which vanishes without a word, calls on connections that were used just before
    are told `Unreachable`, once.
    """
    engine = sql.create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=BUSY_S,
        isolation_level="AUTOCOMMIT",
        connect_args=dict(options),
    )

    @event.listens_for(engine, "checkin")
    def rests(connection: Any, record: ConnectionPoolEntry) -> None:
        del connection
        record.info[IDLE_SINCE] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def is_there(connection: Any, record: ConnectionPoolEntry, proxy: object) -> None:
        del proxy
        since_s = record.info.get(IDLE_SINCE)
        if since_s is None:  # new
            return
        try:
            if time.monotonic() - since_s > IDLE_S or has_said(connection.fileno()):
                connection.execute("SELECT 1")
        except connection_errors() as error:
            raise InvalidatePoolError from error  # the others go the same way, and new ones come

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if not connection.get_execution_options().get("farm_alone", False):
            connection.info[BEGAN] = connection.exec_driver_sql(f"SELECT {NOW_MS}; BEGIN").scalar_one()

    return engine


def connection_errors() -> tuple[type[Exception], ...]:
    import psycopg  # noqa: PLC0415 - whoever has SQLite does not wait for it

    return (psycopg.Error,)


def has_said(socket: int) -> bool:
    """Whether there is something to read; an end is that too."""
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))


def begin_wal(connection: sqlite3.Connection) -> None:
    """Write ahead from now on. SQLite's own waiting does not hold for the moment in which a database that somebody
    else just opens is changed over to that, so it is tried again for as long."""
    until_s = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until_s:
                raise
            time.sleep(random.uniform(0.01, 0.05))
        else:
            return


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Errors of the database as the farm's: `Unreachable` for what passes, `StorageError` for what stays."""
    try:
        yield
    except PoolTimeout as error:
        hint = "try again; more of them are a matter of --db-connections"
        raise Unreachable("every connection to the database is in use", where=where, hint=hint) from error
    except DBAPIError as error:
        told = (str(error.orig).strip().splitlines() or ["no reason given"])[0]
        state = str(getattr(error.orig, "sqlstate", None) or "")
        if "not a database" in told:
            raise InputError("this file is no SQLite database", where=where, hint="name another file") from error
        if state:
            passing = state.startswith(PASSING)
        elif isinstance(error.orig, sqlite3.Error):
            passing = "locked" in told or "busy" in told
        else:  # the driver's own: no connection, or one that broke
            passing = error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
        if passing:
            raise Unreachable(f"the database does not answer: {told}", where=where, hint="try again") from error
        raise StorageError(f"the database refuses: {told}", where=where) from error
    except NoSuchModuleError as error:
        raise InputError(str(error), where=where) from error
