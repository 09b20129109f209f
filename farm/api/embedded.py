"""The whole service in one process: database, coordinator, pool, HTTP. What `farm serve` runs on one machine."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from core.errors import InputError, StorageError
from farm.api.app import make_app, secret_of
from farm.api.context import ApiSettings
from farm.desk import make_pool
from farm.service import keys
from farm.service.coordinator import Coordinator
from farm.service.database import Database, open_database
from farm.service.places import ServicePlaces
from farm.service.posting import Postman
from farm.service.records import SCOPES
from farm.settings import RunOptions, Settings

TENANT = "default"
KEY_FILE = "first-key"
STOP_S = 10
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class ServeSpec:
    """Where the service listens and keeps things. `database` "" is SQLite in `data`."""

    data: Path
    database: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    prefix: str = ""
    allowed_urls: tuple[str, ...] = ()
    most_jobs: int = 4


@dataclass(frozen=True)
class Running:
    """A service that answers at `url`; `key_file` holds the first key of the tenant that was made with it."""

    url: str
    key_file: Path
    database: Database


@contextmanager
def serving(spec: ServeSpec, run: RunOptions, settings: Settings) -> Iterator[Running]:
    """Bring the service up; it ends with the context: jobs that run are given back and go on with the next start.

    `InputError` where the address is taken or the folder cannot be used, `StorageError` where the database does not
    answer.
    """
    places = ServicePlaces(spec.data)
    places.make()
    listening = listen(spec)
    try:
        with open_database(spec.database or f"sqlite:///{places.root}/farm.db") as db:
            key_file = first_key(db, places.root)
            pool = make_pool(run, settings)
            coordinator = Coordinator(db, pool, places, settings, run, most_jobs=spec.most_jobs)
            postman = Postman(db)
            api = ApiSettings(prefix=spec.prefix, allowed_urls=spec.allowed_urls, secret=secret_of(places.root))
            server = uvicorn.Server(
                uvicorn.Config(
                    make_app(db, places, api),
                    log_level="warning",
                    timeout_graceful_shutdown=STOP_S,
                    server_header=False,
                    proxy_headers=True,
                )
            )
            thread = threading.Thread(target=lambda: server.run(sockets=[listening]), name="http", daemon=True)
            try:
                pool.start()
                coordinator.start()
                postman.start()
                thread.start()
                name = spec.host if ":" not in spec.host else f"[{spec.host}]"
                yield Running(f"http://{name}:{listening.getsockname()[1]}{spec.prefix}", key_file, db)
            finally:
                server.should_exit = True
                if thread.ident is not None:
                    thread.join(2 * STOP_S)
                postman.close()
                coordinator.close()
                pool.close()
    finally:
        listening.close()


def listen(spec: ServeSpec) -> socket.socket:
    """The socket, bound before anything else is begun: a taken port is told at once."""
    family = socket.AF_INET6 if ":" in spec.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((spec.host, spec.port))
        made.listen(512)
    except OSError as error:
        made.close()
        raise InputError(
            f"cannot listen there: {error.strerror or error}",
            where=f"{spec.host}:{spec.port}",
            hint="choose another --port, or end what listens there",
        ) from None
    made.set_inheritable(False)
    return made


def first_key(db: Database, root: Path) -> Path:
    """The file with a key of the first tenant; both are made where there is no tenant yet."""
    file = root / KEY_FILE
    if keys.tenants(db):
        return file
    keys.make_tenant(db, "Default", tenant_id=TENANT, actor="farm serve")
    made = keys.make_key(db, TENANT, "first key", SCOPES, actor="farm serve")
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as out:
            out.write(made.secret + "\n")
    except OSError as error:
        raise StorageError(f"the first key cannot be kept: {error.strerror}", where=str(file)) from error
    return file


def wait_for_end(said: Callable[[str], None]) -> None:
    """Until a signal comes, which the command's handlers raise as KeyboardInterrupt."""
    said("stop it with Ctrl-C; what runs goes on with the next start")
    logging.getLogger("farm.service").setLevel(logging.INFO)
    threading.Event().wait()
