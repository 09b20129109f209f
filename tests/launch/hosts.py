"""Several hosts on this machine: each with a network address, processes and an SSH server of its own. As root only.

A host is a network namespace and a process namespace: port 22 and `ray stop` mean what they mean on a machine, and no
host sees another but through the network. They share the file system, as machines with a shared folder do, but for
Ray's own files: nodes take the folder's name from their head, and each has something else there.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.launch.sshd import Host, make_key, serve, short_folder, tool

NET = "10.77.0"  # of namespaces alone: nobody else sees it
CLIENT, FIRST = 2, 10


def ip(*words: str) -> None:
    subprocess.run([tool("ip"), *words], check=True)


@dataclass(frozen=True)
class Machine:
    """A host with its place in the network."""

    space: str
    address: str
    host: Host

    def processes(self) -> list[psutil.Process]:
        """Everything that runs on it, by its process namespace: who renames himself writes over his environment."""
        first = psutil.Process(self.host.server.pid).children()[0]
        mine = Path(f"/proc/{first.pid}/ns/pid").readlink()
        found = []
        for process in psutil.process_iter():
            with suppress(OSError):
                if Path(f"/proc/{process.pid}/ns/pid").readlink() == mine:
                    found.append(process)
        return found

    def cut_off(self) -> None:
        """Take its cable out: no packet comes or goes, and nobody is told."""
        ip("-n", self.space, "link", "set", "eth0", "down")

    def plug_in(self) -> None:
        """Put it in again."""
        ip("-n", self.space, "link", "set", "eth0", "up")
        add_route(self.space)

    def off(self) -> None:
        """Take its power: everything that runs on it is gone at once."""
        self.host.server.kill()
        self.host.server.wait()


@dataclass(frozen=True)
class Network:
    """`client` is the command that runs another where whoever works with the machines is."""

    machines: tuple[Machine, ...]
    client: tuple[str | Path, ...]


@contextmanager
def network(count: int, **environment: str) -> Iterator[Network]:
    """`count` machines that reach each other, and somebody who reaches them; everything ends with the context."""
    assert os.geteuid() == 0, "hosts in network namespaces need root"
    tag = f"farm{os.getpid()}"
    with ExitStack() as ends:
        cables = f"{tag}-net"
        add_space(cables, ends)
        ip("-n", cables, "link", "add", "bridge", "type", "bridge")
        ip("-n", cables, "link", "set", "bridge", "up")
        plug(f"{tag}-client", cables, CLIENT, ends)
        folders = [ends.enter_context(short_folder()) for _ in range(count)]
        make_key(folders[0])
        machines = []
        for number, folder in enumerate(folders):
            if number:
                (folder / "user.pub").write_bytes((folders[0] / "user.pub").read_bytes())
            space = f"{tag}-{number}"
            address = plug(space, cables, FIRST + number, ends)
            space_of = [tool("ip"), "netns", "exec", space]
            alone = [tool("unshare"), "--fork", "--kill-child", "--pid", "--mount-proc"]
            script = 'mount --bind "$0" "$1" && shift && exec "$@"'
            own_files: list[str | Path] = ["/bin/sh", "-c", script, folder / "ray", folders[0] / "ray"]
            logins = {**environment, "RAY_TMPDIR": str(folders[0] / "ray")}
            host = serve(folder, address, 22, logins, within=[*space_of, *alone, *own_files])
            machines.append(Machine(space, address, host))
            ends.callback(machines[-1].off)
        yield Network(tuple(machines), (tool("ip"), "netns", "exec", f"{tag}-client"))


def add_space(name: str, ends: ExitStack) -> None:
    ip("netns", "add", name)
    ends.callback(ip, "netns", "del", name)
    ip("-n", name, "link", "set", "lo", "up")


def plug(space: str, cables: str, number: int, ends: ExitStack) -> str:
    """A namespace with a cable to the bridge; its address."""
    add_space(space, ends)
    address = f"{NET}.{number}"
    ip("link", "add", f"port{number}", "netns", cables, "type", "veth", "peer", "name", "eth0", "netns", space)
    ip("-n", cables, "link", "set", f"port{number}", "master", "bridge", "up")
    ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
    ip("-n", space, "link", "set", "eth0", "up")
    add_route(space)
    return address


def add_route(space: str) -> None:
    """To a gateway that is not there: Ray asks where packets would leave, to know the machine's own address."""
    ip("-n", space, "route", "add", "default", "via", f"{NET}.1")
