"""A real server on a real port for every test, with a tenant of its own; nobody works on jobs unless a test does."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from fastapi import FastAPI
from starlette import types
from starlette.types import ASGIApp

from farm.api.app import make_app, secret_of
from farm.api.context import ApiSettings
from farm.api.doors import Doors, HttpServer, http_config
from farm.paths import place
from farm.service import keys
from farm.service.database import Database, open_database
from farm.service.places import ServicePlaces
from farm.service.records import Scope
from tests.farm.api.bucket_steps import BUCKET, ROOT, listed

ALL: tuple[Scope, ...] = ("jobs:read", "jobs:write", "admin")


class Server:
    """Uvicorn in a thread; it can be ended and begun again on its port. `proxy` stands between it and the app."""

    def __init__(
        self,
        db: Database,
        places: ServicePlaces,
        settings: ApiSettings,
        proxy: Callable[[ASGIApp], ASGIApp] | None = None,
    ) -> None:
        self.db, self.places, self.settings = db, places, settings
        self._proxy = proxy or (lambda app: app)
        self.untold: set[str] = set()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        app = make_app(self.db, self.places, self.settings)
        config = http_config(self._proxy(Told(app, self.untold)), Doors(), head_s=2.0, log_level="error", stop_s=1)
        config.port = self.port
        self._server = HttpServer(config, app.state.context.hub.close)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        for _ in range(500):
            if self._server.started:
                return
            time.sleep(0.02)
        raise RuntimeError("the server did not start")

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self.untold, "answers that the description does not name"


class Told:
    """ASGI middleware: notes in `untold` what `app` answered and its description does not name."""

    def __init__(self, app: FastAPI, untold: set[str]) -> None:
        self._app, self._untold = app, untold
        self._known = app.openapi()["paths"]

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        async def sent(message: types.Message) -> None:
            path = getattr(scope.get("route"), "path", "")
            if message["type"] == "http.response.start" and path in self._known:
                method = {"HEAD": "get"}.get(scope["method"], scope["method"].lower())
                if str(message["status"]) not in self._known[path].get(method, {}).get("responses", {}):
                    self._untold.add(f"{method} {path}: {message['status']}")
            await send(message)

        await self._app(scope, receive, sent)


@dataclass
class House:
    """The service, a tenant of this test's own, and a key of it that may everything."""

    server: Server
    name: str
    secret: str

    @property
    def db(self) -> Database:
        return self.server.db

    def http(self, secret: str | None = None) -> httpx.Client:
        """A client with a key: that of this test, or another one."""
        headers = {"Authorization": f"Bearer {self.secret if secret is None else secret}"}
        return httpx.Client(base_url=self.server.url, headers=headers, timeout=60)

    def key(self, name: str, scopes: tuple[Scope, ...] = ALL, expires_ms: int | None = None) -> str:
        """The secret of a new key; the tenant is made where it is new."""
        if name not in {one.id for one in keys.tenants(self.db)}:
            keys.make_tenant(self.db, name.upper(), tenant_id=name)
        return keys.make_key(self.db, name, "test", scopes, expires_ms=expires_ms).secret


@contextmanager
def studio(root: Path, table: Path, **settings: Any) -> Iterator[House]:
    """A service of its own with its files below `root` and its table in the folder `table`, and its tenant "studio"."""
    with open_database(f"sqlite:///{table}/farm.db") as db:
        places = ServicePlaces(root)
        places.make()
        keys.make_tenant(db, "Studio", tenant_id="studio")
        secret = keys.make_key(db, "studio", "test", ALL).secret
        server = Server(db, places, ApiSettings(secret=secret_of(places), **{"poll_s": 0.05, **settings}))
        try:
            yield House(server, "studio", secret)
        finally:
            server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("service")
    with open_database(f"sqlite:///{folder}/farm.db") as db:
        places = ServicePlaces(folder / "data")
        places.make()
        settings = ApiSettings(
            secret=secret_of(places), poll_s=0.05, keep_alive_s=0.3, silence_s=1.0, most_upload_bytes=1 << 30
        )
        server = Server(db, places, settings)
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def house(server: Server) -> House:
    name = f"t{secrets.token_hex(4)}"
    keys.make_tenant(server.db, name.upper(), tenant_id=name)
    return House(server, name, keys.make_key(server.db, name, "test", ALL).secret)


@pytest.fixture
def http(house: House) -> Iterator[httpx.Client]:
    with house.http() as client:
        yield client


@pytest.fixture
def store(s3: str) -> Iterator[Any]:
    """A client of the bucket that a service keeps its files in."""
    del s3
    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    for entry in listed(client):
        client.delete_object(Bucket=BUCKET, Key=entry)
    client.delete_bucket(Bucket=BUCKET)


@pytest.fixture
def far(store: Any, tmp_path: Path) -> Iterator[House]:
    """A service whose root is in the bucket."""
    del store
    with studio(place(ROOT), tmp_path, keep_alive_s=1.0, silence_s=5.0) as house:
        yield house
