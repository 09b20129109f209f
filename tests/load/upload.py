"""A film of any size, without a file of that size on this side: a real one, and a box after it that is padding."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

from tests.load.house import Served
from tests.load.wire import HOST

PIECE = 1 << 20
ANSWER_S = 600.0  # the service reads what came once more before it answers
LOOK_S = 0.1
AT_ONCE = 4  # as the client


def asked(port: int, key: str, method: str, path: str, body: bytes | Iterator[bytes] = b"", **headers: str) -> Any:
    """One call; what it answered as JSON, None for nothing."""
    line = http.client.HTTPConnection(HOST, port, timeout=ANSWER_S)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        line.request(method, path, body or None, {"Authorization": f"Bearer {key}", **named})
        answer = line.getresponse()
        data = answer.read()
        assert answer.status < 300, (answer.status, data)
        return json.loads(data) if data else None
    finally:
        line.close()


def announced(port: int, key: str, size: int) -> dict[str, Any]:
    body = json.dumps({"purpose": "target", "name": "film.mp4", "size_bytes": size}).encode()
    return dict(asked(port, key, "POST", "/v1/uploads", body, Content_Type="application/json"))


def send_film(port: int, key: str, film: Path) -> str:
    """The id of an upload of this film."""
    data = film.read_bytes()
    made = announced(port, key, len(data))
    assert asked(port, key, "PUT", made["links"]["data"], data)["state"] == "ready"
    return str(made["id"])


def send(port: int, key: str, row: dict[str, Any], data: Iterator[bytes]) -> dict[str, Any]:
    """The announced upload with this content, sent as the service asks for it: whole, or several parts at once."""
    links = row["links"]
    if "data" in links:
        return dict(asked(port, key, "PUT", links["data"], data, Content_Length=str(row["size_bytes"])))
    pieces = cut(data, row["part_bytes"])
    first = next(pieces)
    asked(port, key, "PUT", links["head"], first[: row["head_bytes"]])
    parts = asked(port, key, "POST", f"{links['parts']}?limit=1000")["items"]
    room = threading.Semaphore(AT_ONCE)  # else all of the film would wait for its turn in this process

    def put(part: dict[str, Any], piece: bytes) -> None:
        try:
            asked(port, key, "PUT", part["url"], piece)
        finally:
            room.release()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        sent = []
        for part, piece in zip(parts, chain([first], pieces), strict=True):
            room.acquire()
            sent.append(pool.submit(put, part, piece))
        for one in sent:
            one.result()
    while (row := asked(port, key, "POST", links["finish"]))["state"] == "open":
        time.sleep(LOOK_S)
    return row


def cut(data: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in pieces of `size`, the last one of less."""
    buffer = bytearray()
    for piece in data:
        buffer += piece
        while len(buffer) >= size:
            yield bytes(buffer[:size])
            del buffer[:size]
    if buffer:
        yield bytes(buffer)


def padded(film: bytes, size: int) -> Iterator[bytes]:
    """`size` bytes that are still this film: a box `free`, its length in 64 bits (ISO/IEC 14496-12, 4.2), follows."""
    left = size - len(film)
    yield film + struct.pack(">I4sQ", 1, b"free", left)
    left -= 16
    piece = random.Random(0).randbytes(PIECE)
    while left > 0:
        yield piece[:left]
        left -= PIECE


def send_padded(house: Served, film: Path, size: int) -> dict[str, Any]:
    """Send such a film of `size` bytes, see that it is taken whole, remove it; how fast, and what memory it took."""
    over = threading.Event()

    def looks() -> None:
        while not over.wait(LOOK_S):
            house.look()

    seen = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        for piece in padded(film.read_bytes(), size):
            seen.update(piece)
            yield piece

    before = house.look()
    house.trace.clear()
    looking = threading.Thread(target=looks)
    looking.start()
    try:
        made = announced(house.port, house.key, size)
        began_s = time.perf_counter()
        row = send(house.port, house.key, made, pieces())
        took_s = time.perf_counter() - began_s
    finally:
        over.set()
        looking.join()
    assert (row["state"], row["sha256"], row["received_bytes"]) == ("ready", seen.hexdigest(), size), row
    asked(house.port, house.key, "DELETE", made["links"]["self"])
    most = max(taken for _, taken in house.trace)
    return {
        "bytes": size,
        "seconds": round(took_s, 1),
        "mb_per_s": round(size / took_s / 1e6, 1),
        "before_mib": round(before, 1),
        "most_mib": round(most, 1),
        "grew_mib": round(most - before, 1),
    }
