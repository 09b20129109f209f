"""The tables of transport streams: read as the muxer wrote them, carried to the copy, and compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import InputError
from core.media.containers import check_output
from core.media.encode import resolve_encoder
from core.media.index import index_film
from core.media.transport import shown_text, stream_pids
from core.media.verify import verify_film
from core.records import Check, EncodeSpec, MediaIndex, Program, Transport
from tests.core.media import rendering
from tests.media_clips import AAC, X264, ffmpeg, picture, tone

SERVICE = Program(77, 0x123, (0x1F4, 0x1F5), 25, b"An operator", b"\x15Kanal \xc3\x9c")


def recording(path: Path, *arguments: str) -> Path:
    """One second with sound, as a broadcaster might have sent it."""
    ids = {"service_id": 77, "transport_stream_id": 9, "original_network_id": 321, "service_type": 25}
    options = [part for name, value in ids.items() for part in (f"-mpegts_{name}", str(value))]
    options += ["-mpegts_pmt_start_pid", str(0x123), "-mpegts_start_pid", "500"]
    names = ["-metadata", "service_name=Kanal Ü", "-metadata", "service_provider=An operator"]
    ffmpeg(*picture(1), *tone(1), *X264, *AAC, *options, *names, *arguments, path)
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recording(tmp_path_factory.mktemp("transport") / "film.ts")


def rendered(source: Path, index: MediaIndex, output: Path) -> Path:
    chosen, out = rendering.lossless(index, output)
    rendering.render(source, index, chosen, out)
    return out


def failed(source: Path, output: Path) -> dict[str, Check]:
    return {check.name: check for check in verify_film(source, output).checks if not check.ok}


def notes(index: MediaIndex, container: str) -> str:
    return "; ".join(check_output(index, resolve_encoder(index, EncodeSpec(), container), container))


def test_the_tables_are_read(film: Path) -> None:
    index = index_film(film)
    assert index.transport == Transport(9, 321, (SERVICE,))
    assert [stream.pid for stream in index.streams] == [0x1F4, 0x1F5]


def test_names_numbers_and_pids_are_carried(film: Path, tmp_path: Path) -> None:
    source = index_film(film)
    out = rendered(film, source, tmp_path / "out.ts")
    index = index_film(out)
    assert index.transport == source.transport
    assert [stream.pid for stream in index.streams] == [0x1F4, 0x1F5]
    assert failed(film, out) == {}


def test_a_name_in_another_table_keeps_its_bytes(film: Path, tmp_path: Path) -> None:
    """ISO 8859-9, and bytes without a mark that are no UTF-8 (EN 300 468, annex A)."""
    index = index_film(film)
    odd = replace(SERVICE, name=b"\x05\xd0\xfe", provider=b"caf\xe9")
    out = rendered(film, replace(index, transport=Transport(9, 321, (odd,))), tmp_path / "out.ts")
    made = index_film(out).transport
    assert made is not None
    assert (made.programs[0].name, made.programs[0].provider) == (odd.name, odd.provider)


def test_a_film_without_a_name_gets_none(tmp_path: Path) -> None:
    source = recording(tmp_path / "film.ts", "-mpegts_flags", "+nit")
    nameless = replace(SERVICE, name=b"", provider=b"", service_type=0)
    bare = replace(index_film(source), transport=Transport(9, None, (nameless,)))
    made = index_film(rendered(source, bare, tmp_path / "out.ts")).transport
    assert made is not None
    assert (made.programs[0].name, made.programs[0].provider) == (b"", b"")


def test_other_names_and_pids_are_noticed(film: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.ts"
    ffmpeg("-i", film, "-c", "copy", "-metadata", "service_name=Another", "-mpegts_start_pid", "600", out)
    bad = failed(film, out)
    assert "name=Kanal Ü" in bad["program"].expected
    assert "map PID=0x123" in bad["program"].expected
    assert (bad["PIDs"].expected, bad["PIDs"].got) == ("0x1f4 0x1f5", "0x258 0x259")


def test_two_programs_are_refused_where_they_would_merge(tmp_path: Path) -> None:
    path = tmp_path / "two.ts"
    programs = ["-program", "program_num=1:title=One:st=0", "-program", "program_num=2:title=Two:st=1"]
    ffmpeg(*picture(1), *picture(1), "-map", "0", "-map", "1", *X264, *programs, path)
    index = index_film(path)
    assert index.transport is not None
    assert [program.number for program in index.transport.programs] == [1, 2]
    settings = resolve_encoder(index, EncodeSpec(), "mpegts")
    with pytest.raises(InputError, match=r"mpegts with 2 programs .* would become one.*name the output \.mkv"):
        check_output(index, settings, "mpegts")
    assert "2 programs" in notes(index, "matroska")


def test_what_other_containers_cannot_say_is_noted(film: Path) -> None:
    index = index_film(film)
    assert "its service (Kanal Ü) is not named in mp4" in notes(index, "mp4")
    titled = replace(index, format="mov,mp4", tags={"title": "A film", "encoder": "x"}, transport=None)
    assert "mpegts carries no tags: title left out" in notes(titled, "mpegts")


def test_streams_on_one_pid_are_told_apart(film: Path) -> None:
    index = index_film(film)
    shared = replace(index, streams=tuple(replace(stream, pid=0x1F4) for stream in index.streams))
    assert stream_pids(shared) == {0: 0x1F4, 1: 0x1F5}
    assert "stream 1 shares PID 0x1f4 with another and gets 0x1f5" in notes(shared, "mpegts")


def test_damaged_tables_are_not_believed(film: Path, tmp_path: Path) -> None:
    data = bytearray(film.read_bytes())
    for at in range(0, len(data), 188):
        if data[at + 1] & 0x1F == 0 and data[at + 2] == 0x11:
            data[at + 30] ^= 1
    path = tmp_path / "damaged.ts"
    path.write_bytes(data)
    index = index_film(path)
    assert index.transport is not None
    assert index.transport.programs == (replace(SERVICE, service_type=0, name=b"", provider=b""),)


def test_texts_for_people() -> None:
    assert shown_text(b"\x15Kanal \xc3\x9c") == "Kanal Ü"
    assert shown_text(b"\x05\xd0") == "\x05\\xd0"


def test_a_recording_that_starts_behind_its_tables(film: Path, tmp_path: Path) -> None:
    """A recording that begins behind its first tables is read from those that come later."""
    data = film.read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    first = next(n for n, packet in enumerate(packets) if packet[1] & 0x1F == 1 and packet[2] == 0xF4)
    path = tmp_path / "late.ts"
    path.write_bytes(b"".join(packets[first:]))
    index = index_film(path)
    assert index.transport is not None
    assert index.transport.programs[0].pmt_pid == 0x123


def test_the_kind_of_a_sound_track_is_carried_and_compared(tmp_path: Path) -> None:
    source, plain = tmp_path / "film.ts", tmp_path / "plain.ts"
    recording(source, "-metadata:s:a", "language=eng", "-disposition:a", "visual_impaired")
    out = rendered(source, index_film(source), tmp_path / "out.ts")
    assert failed(source, out) == {}
    assert index_film(out).streams[1].disposition & 1 << 8
    recording(plain, "-metadata:s:a", "language=eng")
    assert "stream 1: disposition" in failed(source, plain)


@pytest.mark.parametrize("m2ts", [False, True])
def test_packets_are_as_long_as_the_films_whatever_the_name(m2ts: bool, film: Path, tmp_path: Path) -> None:
    """The muxer would go by the name, and Blu-ray has a PID of its own for the program map."""
    source = recording(tmp_path / "film.ts", "-mpegts_m2ts_mode", "1", "-c:a", "ac3") if m2ts else film
    index = index_film(source)
    assert index.transport is not None
    assert index.transport.packet_bytes == (192 if m2ts else 188)
    out = rendered(source, index, tmp_path / ("out.ts" if m2ts else "out.m2ts"))
    assert index_film(out).transport == index.transport
    assert failed(source, out) == {}
