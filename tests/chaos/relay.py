"""The way to a store's server: a process that passes connections on, and that can be killed and started again.

moto's server keeps its objects in memory, so what dies here is the way to it: requests under way are cut before or
after the server has done them, and nobody answers for a while. `python -m tests.chaos.relay PORT SERVER_PORT` is the
process; with a third argument it answers 503 to that share of all connections.
"""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
STORM = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Relay:
    """The relay at `port` of this machine, before the server at `server_port`."""

    def __init__(self, server_port: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._server_port = server_port
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self, storm: float = 0.0) -> None:
        """Begin to pass connections on; `storm` of them are answered 503 instead."""
        command = [sys.executable, "-m", "tests.chaos.relay", str(self.port), str(self._server_port), str(storm)]
        self._process = subprocess.Popen(command, cwd=ROOT)
        end_s = time.monotonic() + START_S
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert time.monotonic() < end_s, "the relay did not start"
            time.sleep(0.05)

    @property
    def alive(self) -> bool:
        return self._process is not None

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


def main(port: int, server_port: int, storm: float) -> None:
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    while True:
        line, _ = listener.accept()
        threading.Thread(target=serve, args=(line, server_port, storm), daemon=True).start()


def serve(line: socket.socket, server_port: int, storm: float) -> None:
    with line, suppress(OSError):
        if random.random() < storm:
            line.recv(1 << 16)
            line.sendall(STORM)
            return
        with socket.create_connection(("127.0.0.1", server_port)) as there:
            back = threading.Thread(target=pour, args=(there, line), daemon=True)
            back.start()
            pour(line, there)
            back.join()


def pour(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
