"""What the tables of an MPEG transport stream say: its programs, their names, and on which PIDs they are.

libavformat reads these tables but hands out only the streams, so they are read here: the program association table and
the program map tables (ISO/IEC 13818-1, 2.4.4.3 and 2.4.4.8), and the service description table (EN 300 468, 5.2.3).
The bytes are the file's; a section is taken only if its CRC is right.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.media.boxes import transport_packet
from core.records import MediaIndex, Program, StreamInfo, Transport

SYNC = 0x47
PAT_PID, SDT_PID = 0x00, 0x11
PAT, PMT, SDT = 0x00, 0x02, 0x42
SERVICE_DESCRIPTOR = 0x48
LONGEST_SECTION = 4096
M2TS_PMT_PID = 0x100
_UTF8 = b"\x15"  # the mark of a text in UTF-8
BLOCK_PACKETS = 20_000
HEAD_PACKETS = 180_000  # 34 MB: a service description comes every two seconds (ETSI TR 101 211, 4.4.1)


def read_transport(path: Path, streams: Sequence[StreamInfo]) -> Transport | None:
    """The tables at the start of the transport stream at `path`, with those programs of which the file holds any of
    `streams` with packets; None where no such table can be read."""
    stride = transport_packet(path)
    if not stride:
        return None
    tables = _Tables()
    with path.open("rb") as file:
        file.seek(stride - 188 if stride == 192 else 0)
        for _ in range(HEAD_PACKETS // BLOCK_PACKETS):
            data = np.frombuffer(file.read(stride * BLOCK_PACKETS), np.uint8)
            rows = data[: len(data) - len(data) % stride].reshape(-1, stride)[:, :188]
            if not len(rows) or tables.add(rows):
                break
    found = tables.found()
    present = {stream.pid for stream in streams if stream.packets}
    used = tuple(program for program in (found.programs if found else ()) if present & set(program.pids))
    return replace(found, programs=used, packet_bytes=stride) if found and used else None


class _Tables:
    """Collects sections from packets; a first pass over a block learns which PIDs hold program maps."""

    def __init__(self) -> None:
        self.stream_id: int | None = None
        self.network_id: int | None = None
        self.maps: dict[int, int] = {}  # program number -> PID of its map
        self.pids: dict[int, tuple[int, ...]] = {}  # program number -> PIDs of its streams
        self.services: dict[int, tuple[int, bytes, bytes]] = {}  # program number -> (type, provider, name)

    def add(self, rows: NDArray[np.uint8]) -> bool:
        """Read the packets [P, 188]; True once nothing is left to look for."""
        rows = rows[rows[:, 0] == SYNC]
        pid = (rows[:, 1] & 0x1F).astype(np.int32) << 8 | rows[:, 2]
        for section in sections(rows[pid == PAT_PID]):
            self._association(section)
        for section in sections(rows[pid == SDT_PID]):
            self._services(section)
        for place in {place for number, place in self.maps.items() if number not in self.pids}:
            for section in sections(rows[pid == place]):
                self._map(section)
        return bool(self.maps) and set(self.maps) <= set(self.pids) and set(self.maps) <= set(self.services)

    def _association(self, section: bytes) -> None:
        if section[0] != PAT:
            return
        self.stream_id = _u16(section, 3)
        for at in range(8, len(section) - 7, 4):
            number = _u16(section, at)
            if number:  # 0 names the network information table
                self.maps.setdefault(number, _u16(section, at + 2) & 0x1FFF)

    def _map(self, section: bytes) -> None:
        if section[0] != PMT or len(section) < 16:
            return
        at = 12 + (_u16(section, 10) & 0xFFF)
        pids = []
        while at + 5 <= len(section) - 4:
            pids.append(_u16(section, at + 1) & 0x1FFF)
            at += 5 + (_u16(section, at + 3) & 0xFFF)
        self.pids.setdefault(_u16(section, 3), tuple(pids))

    def _services(self, section: bytes) -> None:
        if section[0] != SDT or len(section) < 15:
            return
        self.network_id = _u16(section, 8)
        at = 11
        while at + 5 <= len(section) - 4:
            size = _u16(section, at + 3) & 0xFFF
            for tag, body in _descriptors(section[at + 5 : at + 5 + size]):
                if tag == SERVICE_DESCRIPTOR and len(body) >= 3:
                    provider = body[2 : 2 + body[1]]
                    name = body[3 + body[1] :][: body[2 + body[1]]] if len(body) > 2 + body[1] else b""
                    self.services.setdefault(_u16(section, at), (body[0], provider, name))
            at += 5 + size

    def found(self) -> Transport | None:
        if self.stream_id is None or not self.pids:
            return None
        programs = []
        for number, place in sorted(self.maps.items()):
            if number in self.pids:
                kind, provider, name = self.services.get(number, (0, b"", b""))
                programs.append(Program(number, place, self.pids[number], kind, provider, name))
        return Transport(self.stream_id, self.network_id, tuple(programs)) if programs else None


def sections(rows: NDArray[np.uint8]) -> Iterator[bytes]:
    """The whole sections with a right CRC in the packets [P, 188] of one PID (13818-1, 2.4.4.1), each content once."""
    seen: set[bytes] = set()
    held = b""
    for row in rows:
        control = int(row[3]) >> 4 & 3
        start = 4 + (1 + int(row[4]) if control & 2 else 0)
        if not control & 1 or start >= len(row):
            continue
        body = row[start:].tobytes()
        if row[1] & 0x40:
            pointer = body[0]
            held, body = held + body[1 : 1 + pointer], body[1 + pointer :]
            yield from _whole(held, seen)
            held = body
        elif 0 < len(held) <= LONGEST_SECTION:
            held += body
        yield from _whole(held, seen)


def _whole(data: bytes, seen: set[bytes]) -> Iterator[bytes]:
    at = 0
    while at + 3 <= len(data) and data[at] != 0xFF:
        end = at + 3 + (_u16(data, at + 1) & 0xFFF)
        section = data[at:end]
        if end > len(data):
            return
        if section not in seen and len(section) >= 12 and crc_is_right(section):
            seen.add(section)
            yield section
        at = end


def _descriptors(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 2 <= len(data):
        yield data[at], data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def crc_is_right(section: bytes) -> bool:
    """Whether a section ends in its CRC (13818-1, annex A): that of zlib with the bits of each byte in reverse."""
    return zlib.crc32(section.translate(_MIRRORED)) == 0xFFFFFFFF


def muxer_text(text: bytes) -> str:
    """A service's text for the muxer, which marks UTF-8 by itself and passes other tables' bytes on (EN 300 468, A.2);
    what is no UTF-8 as surrogate escapes."""
    return text.removeprefix(_UTF8).decode("utf-8", "surrogateescape")


def shown_text(text: bytes) -> str:
    """A service's text for people; what is no UTF-8 with backslashes."""
    return text.removeprefix(_UTF8).decode("utf-8", "backslashreplace")


def stream_pids(index: MediaIndex) -> dict[int, int]:
    """The PID of each stream of a transport stream, by stream index. Where two share one (TrueHD with AC-3 in it) the
    later one gets the next that is free, because the muxer gives each its own."""
    if index.transport is None:
        return {}
    taken = {program.pmt_pid for program in index.transport.programs}
    found = {}
    for stream in index.streams:
        pid = stream.pid
        while pid in taken:
            pid += 1
        taken.add(pid)
        found[stream.index] = pid
    return found


def mux_options(transport: Transport) -> dict[str, str]:
    """Muxer options for the tables of a film with one program."""
    program = transport.programs[0]
    options = {
        "mpegts_transport_stream_id": transport.id,
        "mpegts_service_id": program.number,
        "mpegts_pmt_start_pid": program.pmt_pid,
        "mpegts_original_network_id": transport.network_id,
        "mpegts_service_type": program.service_type,
    }
    wanted = {name: str(value) for name, value in options.items() if value}  # the muxer takes no zeros
    return wanted | {"mpegts_m2ts_mode": "1"} if _with_time_codes(transport) else wanted


def _with_time_codes(transport: Transport) -> bool:
    """Whether the muxer can write such packets: it does so for Blu-ray alone, with the program map on its PID."""
    return transport.packet_bytes == 192 and transport.programs[0].pmt_pid == M2TS_PMT_PID


def service_tags(transport: Transport) -> dict[str, str]:
    """The muxer's tags for the service's texts: without them it would make up its own."""
    program = transport.programs[0]
    return {"service_name": muxer_text(program.name), "service_provider": muxer_text(program.provider)}


def described(transport: Transport) -> dict[str, str]:
    """What of the tables must be the same in a copy, by name; without what no muxer option can say."""
    program = transport.programs[0]
    found = {
        "program": str(program.number),
        "map PID": f"{program.pmt_pid:#x}",
        "name": shown_text(program.name),
        "provider": shown_text(program.provider),
        "packet bytes": "192" if _with_time_codes(transport) else "188",
    }
    if transport.id:
        found["transport stream"] = str(transport.id)
    if transport.network_id:
        found["original network"] = str(transport.network_id)
    if program.service_type:
        found["service type"] = str(program.service_type)
    return found
