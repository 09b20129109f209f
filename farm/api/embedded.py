"""The whole service on one machine, what `farm serve` runs: HTTP and webhooks here, the coordinator and its pool in a
process of their own, which may end and begins again."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import InputError, StorageError
from farm.api.app import make_app, secret_of
from farm.api.context import ApiSettings
from farm.api.counting import counts_here
from farm.api.doors import Doors, HttpServer, ask_for_descriptors, http_config
from farm.api.rules import apply_quotas
from farm.service import keys
from farm.service.apart import Apart, task_of
from farm.service.clearing import NEVER, Retention
from farm.service.database import Database, open_database
from farm.service.errors import Conflict
from farm.service.figures import TRIES
from farm.service.guard import STRICT, Rules
from farm.service.places import ServicePlaces
from farm.service.posting import Postman
from farm.service.records import SCOPES
from farm.settings import RunOptions, Settings
from farm.watching.instruments import Page, parse_address

log = logging.getLogger("farm.service")
TENANT = "default"
KEY_FILE = "first-key"
STOP_S = 10


@dataclass(frozen=True)
class ServeSpec:
    """Where the service listens and keeps things, and what it allows. `data` is a folder, or a prefix of a bucket;
    `database` "" is SQLite in that folder. `quotas` are those of the first tenant, by the names of TenantQuota."""

    data: Path
    database: str = ""
    connections: int = 20
    host: str = "127.0.0.1"
    port: int = 8000
    prefix: str = ""
    allowed_urls: tuple[str, ...] = ()
    bucket_endpoint: str = ""
    most_upload_bytes: int = ApiSettings.most_upload_bytes
    most_jobs: int = 4
    rules: Rules = STRICT
    retention: Retention = NEVER
    quotas: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Running:
    """A service that answers at `url`. `key` is the first key, which is kept at `key_file`; None where another one
    made the tenants. `fresh`: it was made now."""

    url: str
    key_file: str
    key: str | None
    fresh: bool
    metrics: str
    database: Database


def database_of(places: ServicePlaces, database: str) -> str:
    """The database's address; `InputError` where none is named and the files are in a bucket."""
    if database:
        return database
    if places.far:
        raise InputError(
            "the service's database cannot lie in a bucket",
            where=str(places.root),
            hint="name one with --database: postgresql://USER@HOST/NAME or sqlite:////FOLDER/farm.db",
        )
    return f"sqlite:///{places.root}/farm.db"


@contextmanager
def serving(spec: ServeSpec, run: RunOptions, settings: Settings) -> Iterator[Running]:
    """Bring the service up; it ends with the context: jobs that run are given back and go on with the next start.

    `InputError` where the address is taken or the folder cannot be used, `StorageError` where the database does not
    answer.
    """
    places = ServicePlaces(spec.data)
    url = database_of(places, spec.database)
    places.make()
    ask_for_descriptors()
    with ExitStack() as stack:
        listening = listen(spec)
        stack.callback(listening.close)
        for_jobs = max(1, spec.connections // 4)
        db = stack.enter_context(open_database(url, connections=spec.connections - for_jobs))
        fresh = first_key(db, places, spec.quotas)
        counts, instruments = counts_here(db)
        page = None
        if run.metrics is not None:
            page = Page(*parse_address(run.metrics), instruments.registry)
            stack.callback(page.close)
        task = task_of(places, url, for_jobs, run, settings, spec.most_jobs, spec.retention)
        keeper = Apart(task, instruments)
        postman = Postman(db, spec.rules, tried=lambda outcome: instruments.add(TRIES, 1, outcome))
        api = ApiSettings(
            prefix=spec.prefix,
            allowed_urls=spec.allowed_urls,
            most_upload_bytes=spec.most_upload_bytes,
            metrics=page is None,
            rules=spec.rules,
            bucket_endpoint=spec.bucket_endpoint,
            secret=secret_of(places),
        )
        app = make_app(db, places, api, counts)
        config = http_config(app, Doors(), log_level="warning", stop_s=STOP_S)
        server = HttpServer(config, app.state.context.hub.close)
        thread = threading.Thread(target=lambda: server.run(sockets=[listening]), name="http", daemon=True)
        try:
            keeper.start()
            postman.start()
            thread.start()
            name = spec.host if ":" not in spec.host else f"[{spec.host}]"
            yield Running(
                f"http://{name}:{listening.getsockname()[1]}{spec.prefix}",
                str(places.root / KEY_FILE),
                places.secret(KEY_FILE),
                fresh,
                page.address if page is not None else "",
                db,
            )
        finally:
            server.should_exit = True
            if thread.ident is not None:
                thread.join(2 * STOP_S)
            postman.close()
            keeper.close()


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


def first_key(db: Database, places: ServicePlaces, quotas: Mapping[str, int | None]) -> bool:
    """Whether there was no key yet, nor any tenant but the first: then these are made, and the key is kept beside the
    files. The tenant's quota is what `quotas` says of it.

    The secret is kept before it is a key, and each step may have been done already: by one that died in between, or by
    another one that starts at the same time, and that has the same secret from a file of this database's own: what is
    in `KEY_FILE` may be the key of a database that was here before.
    """
    fresh = not keys.any_key(db) and all(tenant.id == TENANT for tenant in keys.tenants(db))
    if fresh:
        with suppress(Conflict):
            keys.make_tenant(db, "Default", tenant_id=TENANT, actor="farm serve")
        secret = places.keep_secret(own_file(db), keys.new_secret())
        fresh = not keys.any_key(db)  # else another one has ended with it, and the file was made again
        if fresh:
            fresh = make_first(db, places, secret)
    if any(tenant.id == TENANT for tenant in keys.tenants(db)):
        try:
            places.drop_secret(own_file(db))  # also that of one that died just before
        except StorageError as error:
            log.warning("what the first key was made of stays: %s", error)
        if quotas:
            apply_quotas(db, TENANT, quotas)
    return fresh


def own_file(db: Database) -> str:
    """What keeps the secret of this database's first key until it is one."""
    return f"{KEY_FILE}.{keys.tenant(db, TENANT).created_ms}"


def make_first(db: Database, places: ServicePlaces, secret: str) -> bool:
    """Keep the secret, and make it a key; False where another one did. `StorageError` where it cannot be read back."""
    places.put_secret(KEY_FILE, secret)
    if places.secret(KEY_FILE) != secret:
        raise StorageError("the first key cannot be read back", where=str(places.root / KEY_FILE))
    try:
        keys.make_key(db, TENANT, "first key", SCOPES, actor="farm serve", secret=secret)
    except Conflict:
        return False
    return True


def wait_for_end(said: Callable[[str], None]) -> None:
    """Until a signal comes, which the command's handlers raise as KeyboardInterrupt."""
    said("stop it with Ctrl-C; what runs goes on with the next start")
    logging.getLogger("farm.service").setLevel(logging.INFO)
    threading.Event().wait()
