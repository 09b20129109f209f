"""A TCP proxy before an S3 server that spoils requests: each test says which, and how."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

PIECES_A_SECOND = 20
Spoil = Callable[["Exchange"], None]


@dataclass
class Exchange:
    """One request (its head and body) and what becomes of it. A spoiler changes the fields.

    `answer`: sent instead of asking the server. `cut`: so many bytes of the answer are passed on, then the line is
    cut. `dead`: nothing is passed on, though the server did what was asked. `pace`: so many bytes of the answer's body
    are passed on a second.
    """

    number: int
    head: bytes
    body: bytes
    answer: bytes | None = None
    cut: int | None = None
    dead: bool = False
    pace: int | None = None

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode()

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode()


def refusal(status: int, code: str, message: str = "no") -> bytes:
    """An answer of S3 with an error."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    head = f"HTTP/1.1 {status} No\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


@contextmanager
def proxy(server: str, spoil: Spoil) -> Iterator[str]:
    """The address of a proxy before `server`; `spoil` sees every exchange, counted from 0, one connection each."""
    there = urlsplit(server)
    listener = socket.create_server(("127.0.0.1", 0))
    lock, count, over = threading.Lock(), [0], threading.Event()

    def serve(line: socket.socket) -> None:
        with line, suppress(OSError, ValueError):
            head, body = read_request(line)
            with lock:
                number = count[0]
                count[0] += 1
            exchange = Exchange(number, head, body)
            spoil(exchange)
            if exchange.answer is None:
                exchange.answer = ask((str(there.hostname), int(there.port or 80)), exchange)
            if exchange.dead:
                return
            told = exchange.answer if exchange.cut is None else exchange.answer[: exchange.cut]
            if exchange.pace is None:
                line.sendall(told)
            else:
                pour(line, told, exchange.pace, over)

    def listen() -> None:
        while not over.is_set():
            with suppress(OSError):
                line, _ = listener.accept()
                threading.Thread(target=serve, args=(line,), daemon=True).start()

    threading.Thread(target=listen, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        listener.close()


def pour(line: socket.socket, told: bytes, pace: int, over: threading.Event) -> None:
    """Send the head of an answer at once, and its body by and by."""
    begin = told.index(b"\r\n\r\n") + 4
    line.sendall(told[:begin])
    some = max(1, pace // PIECES_A_SECOND)
    for place in range(begin, len(told), some):
        line.sendall(told[place : place + some])
        if over.wait(some / pace):
            return


def read_request(line: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = line.recv(65536)
        if not more:
            raise ValueError("no request")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    rows = (row.partition(b":") for row in head.split(b"\r\n")[1:])
    fields = {name.strip().lower(): value.strip() for name, _, value in rows}
    if fields.get(b"expect", b"").lower() == b"100-continue":
        line.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    size = int(fields.get(b"content-length", b"0"))
    while len(body) < size:
        more = line.recv(65536)
        if not more:
            raise ValueError("half a request")
        body += more
    return head, body


def ask(server: tuple[str, int], exchange: Exchange) -> bytes:
    rows = exchange.head.split(b"\r\n")
    kept = [row for row in rows if not row.lower().startswith((b"connection:", b"expect:"))]
    with socket.create_connection(server) as line:
        line.sendall(b"\r\n".join([*kept, b"Connection: close"]) + b"\r\n\r\n" + exchange.body)
        answer = b""
        while more := line.recv(65536):
            answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    rows = [row for row in head.split(b"\r\n") if not row.lower().startswith(b"connection:")]
    return b"\r\n".join([*rows, b"Connection: close"]) + b"\r\n\r\n" + body
