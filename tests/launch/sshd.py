"""A host that answers SSH, on this machine: OpenSSH's own server as this user, on loopback, with a home of its own.

Who logs in has HOME in the host's folder, finds this Python first, and Ray's files in the folder too. Everything that
is started there carries the folder in its environment, by which it is ended.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
MARK = "RAY_TMPDIR"  # where Ray keeps its files; also what the processes of a host are known by
ANSWER_S = 20.0
END_S = 20.0


@dataclass(frozen=True)
class Host:
    """`folder` is short, because Ray's sockets lie below it and their paths may have 107 bytes."""

    folder: Path
    port: int
    server: subprocess.Popen[bytes]

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def ray(self) -> Path:
        return self.folder / "ray"

    @property
    def key(self) -> Path:
        return self.folder / "ssh" / "user"

    @property
    def user(self) -> str:
        return getpass.getuser()

    def client(self) -> dict[str, str]:
        """The environment of somebody who works with this host: another home, and an `ssh` that knows the port."""
        dropped = {"RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"}
        plain = {name: value for name, value in os.environ.items() if name not in dropped}
        at = self.folder / "client"
        path = os.pathsep.join([str(self.folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        return {
            **plain,
            "PATH": path,
            "HOME": str(at),
            "TMPDIR": str(at),
            MARK: str(at),
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def drop_connections(self) -> None:
        """End every SSH session from outside, as a network that goes away does."""
        for session in psutil.Process(self.server.pid).children(recursive=True):
            with suppress(psutil.Error):
                if session.name() == "sshd":
                    session.kill()

    def processes(self) -> list[psutil.Process]:
        """Everything that was started on the host."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.ray):
                    found.append(process)
        return found


def tool(name: str) -> str:
    """Where a program is; says which package has it where it is not there."""
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"]))
    assert found, f"no {name} on this machine: apt-get install openssh-server openssh-client rsync iproute2"
    return found


@contextmanager
def ssh_host(**environment: str) -> Iterator[Host]:
    """A host of this machine; whatever runs on it ends with the context. `environment` is that of its logins."""
    folder = Path(tempfile.mkdtemp(prefix="farm-", dir="/tmp"))
    try:
        (port,) = free_ports(1)
        write_files(folder, port, environment)
        command = [tool("sshd"), "-D", "-f", folder / "ssh/sshd_config", "-E", folder / "ssh/log"]
        host = Host(folder, port, subprocess.Popen(command))
        try:
            await_answer(host)
            yield host
        finally:
            host.drop_connections()
            host.server.terminate()
            host.server.wait()
            end(host.processes())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_files(folder: Path, port: int, environment: Mapping[str, str]) -> None:
    """Keys, the server's and the client's settings, and the home of who logs in."""
    ssh, home = folder / "ssh", folder / "home"
    for each in (ssh, home, folder / "ray", folder / "client", folder / "bin"):
        each.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run([tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", ssh / name], check=True)
    logins = {"HOME": str(home), MARK: str(folder / "ray"), "PYTHONPATH": str(ROOT), **environment}
    lines = {
        "Port": str(port),
        "ListenAddress": "127.0.0.1",
        "HostKey": str(ssh / "host"),
        "PidFile": str(ssh / "pid"),
        "AuthorizedKeysFile": str(ssh / "user.pub"),
        "StrictModes": "no",  # a folder below /tmp
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "SetEnv": " ".join(f'"{name}={value}"' for name, value in logins.items()),
    }
    (ssh / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
    (ssh / "config").write_text(f"Host *\n  Port {port}\n")
    (home / ".bashrc").write_text(f"export PATH={Path(sys.executable).parent}:$PATH\n")
    # OpenSSH looks for its settings in the user's real home, whatever HOME says.
    wrapped = folder / "bin" / "ssh"
    wrapped.write_text(f'#!/bin/sh\nexec {tool("ssh")} -F {ssh}/config "$@"\n')
    wrapped.chmod(0o755)
    if os.geteuid() == 0:  # else sshd serves this user alone, and needs no such folder
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)


def await_answer(host: Host) -> None:
    end_s = time.monotonic() + ANSWER_S
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", host.port), timeout=1):
            return
        assert host.server.poll() is None, (host.folder / "ssh/log").read_text()
        assert time.monotonic() < end_s, "the SSH server does not answer"
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those that the system gives to connections."""
    found: list[int] = []
    for port in range(20000 + os.getpid() * 7 % 5000, 32000):
        with suppress(OSError), closing(socket.socket()) as trial:
            trial.bind(("0.0.0.0", port))
            found.append(port)
            if len(found) == count:
                return found
    raise AssertionError("no free port")


def end(processes: list[psutil.Process]) -> None:
    """Kill what runs, and wait until it is gone."""
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=END_S)
