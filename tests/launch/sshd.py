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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
SLOW = {"RAY_raylet_start_wait_time_s": "120"}  # on a busy machine Ray comes up slowly
MARK = "FARM_TEST_HOST"  # what the processes of a host are known by
ANSWER_S = 20.0
END_S = 20.0


@dataclass(frozen=True)
class Host:
    """`folder` has all that the host and its client keep; see `short_folder`."""

    folder: Path
    server: subprocess.Popen[bytes]

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def ray(self) -> Path:
        return self.folder / "ray"

    @property
    def key(self) -> Path:
        return self.folder / "user"

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
            "RAY_TMPDIR": str(at),
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
        return started_with(self.folder)


def started_with(folder: Path) -> list[psutil.Process]:
    """The processes in whose environment MARK is `folder`."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == str(folder):
                found.append(process)
    return found


def tool(name: str) -> str:
    """Where a program is; says which package has it where it is not there."""
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"]))
    assert found, f"no {name} on this machine: apt-get install openssh-server openssh-client rsync iproute2"
    return found


@contextmanager
def ssh_host(**environment: str) -> Iterator[Host]:
    """A host on loopback; whatever runs on it ends with the context. `environment` is that of its logins."""
    with short_folder() as folder:
        make_key(folder)
        (port,) = free_ports(1)
        host = serve(folder, "127.0.0.1", port, environment)
        try:
            yield host
        finally:
            host.drop_connections()
            host.server.terminate()
            host.server.wait()
            end(host.processes())


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose path is short, because Ray's sockets lie below it and their paths may have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="farm-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_key(folder: Path) -> None:
    """The key pair with which one logs in, as `folder`/user."""
    subprocess.run([tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", folder / "user"], check=True)


def serve(
    folder: Path, address: str, port: int, environment: Mapping[str, str], *, within: Sequence[str | Path] = ()
) -> Host:
    """Start a server at `address`, run by the command `within` if there is one. The key `folder`/user lets in."""
    ssh, home = folder / "ssh", folder / "home"
    for each in (ssh, home, folder / "ray", folder / "client", folder / "bin"):
        each.mkdir(mode=0o700)
    subprocess.run([tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", ssh / "host"], check=True)
    logins = {"HOME": str(home), MARK: str(folder), "RAY_TMPDIR": str(folder / "ray"), "PYTHONPATH": str(ROOT)}
    logins |= {**SLOW, **environment}
    lines = {
        "Port": str(port),
        "ListenAddress": address,
        "HostKey": str(ssh / "host"),
        "PidFile": str(ssh / "pid"),
        "AuthorizedKeysFile": str(folder / "user.pub"),
        "StrictModes": "no",  # a folder below /tmp
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "SetEnv": " ".join(f'"{name}={value}"' for name, value in logins.items()),
    }
    (ssh / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
    # OpenSSH takes settings, and what "~" is, from the user's real home, whatever HOME says; hence this `ssh`, of who
    # works with the host, and of a head that goes on to other hosts.
    (ssh / "config").write_text(f"Host *\n  Port {port}\n  IdentityFile {home}/ray_bootstrap_key.pem\n")
    (home / ".bashrc").write_text(f"export PATH={folder}/bin:{Path(sys.executable).parent}:$PATH\n")
    wrapped = folder / "bin" / "ssh"
    wrapped.write_text(f'#!/bin/sh\nexec {tool("ssh")} -F {ssh}/config "$@"\n')
    wrapped.chmod(0o755)
    if os.geteuid() == 0:  # else sshd serves this user alone, and needs no such folder
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    log = ssh / "log"
    server = subprocess.Popen([*within, tool("sshd"), "-D", "-f", ssh / "sshd_config", "-E", log])
    end_s = time.monotonic() + ANSWER_S
    while not (log.exists() and "Server listening" in log.read_text()):
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < end_s, "the SSH server does not come up"
        time.sleep(0.05)
    return Host(folder, server)


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
