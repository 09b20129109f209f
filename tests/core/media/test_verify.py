"""Verification must catch what goes wrong: each test spoils one thing and expects the check that names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from core.errors import FarmError
from core.media.containers import container_for
from core.media.index import index_film
from core.media.join import join_film
from core.media.verify import verify_film
from core.records import Check, Colour, EncoderSettings, MediaIndex, VerifyReport
from tests.core.media import rendering
from tests.media_clips import make_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verify")


@pytest.fixture(scope="module")
def film(folder: Path) -> tuple[Path, MediaIndex, EncoderSettings]:
    source = make_clip("rich_mp4", folder)
    index = index_film(source)
    chosen, _ = rendering.lossless(index, folder / "out.mp4")
    return source, index, chosen


def spoiled(film: tuple[Path, MediaIndex, EncoderSettings], output: Path, wrong: MediaIndex) -> VerifyReport:
    """Verify a film rendered faithfully to another index than the source's."""
    source, index, chosen = film
    rendering.render(source, wrong, chosen, output, pieces=2)
    return verify_film(source, output, source_index=index, settings=chosen)


def failed(report: VerifyReport) -> dict[str, Check]:
    return {check.name: check for check in report.checks if not check.ok}


def without(index: MediaIndex, ordinal: int) -> MediaIndex:
    keep = np.arange(index.frames) != ordinal
    return replace(
        index, pts=index.pts[keep], duration=index.duration[keep], key=index.key[keep], packet=index.packet[keep]
    )


def late(index: MediaIndex, ordinal: int, ticks: int) -> MediaIndex:
    pts = index.pts.copy()
    pts[ordinal] += ticks
    return replace(index, pts=pts)


def test_a_faithful_film_passes(film: tuple[Path, MediaIndex, EncoderSettings], tmp_path: Path) -> None:
    report = spoiled(film, tmp_path / "out.mp4", film[1])
    assert failed(report) == {}
    assert len(report.checks) > 20


def test_a_missing_frame(film: tuple[Path, MediaIndex, EncoderSettings], tmp_path: Path) -> None:
    source, index, chosen = film
    short = without(index, 30)
    segments = rendering.cut(short, 1)
    # The decoder gives the frame all the same; it is left out as a wrong worker would.
    out = tmp_path / "out.mp4"
    with rendering.SegmentEncoder(tmp_path / "s.mp4", chosen, short, segments[0]) as encoder:
        for frame in rendering.decode_segment(source, index, rendering.cut(index, 1)[0]):
            if frame.ordinal != 30:
                encoder.write(frame.frame, frame.pts)
        encoder.close()
    join_film(source, short, chosen, [(segments[0], tmp_path / "s.mp4")], out, "mp4")
    bad = failed(verify_film(source, out, source_index=index))
    assert (bad["frames"].expected, bad["frames"].got) == (str(index.frames), str(index.frames - 1))
    assert "frame 30" in bad["timestamps"].got


def test_a_late_frame(film: tuple[Path, MediaIndex, EncoderSettings], tmp_path: Path) -> None:
    source, index, chosen = film
    out = tmp_path / "out.mp4"
    pairs = rendering.encode(source, index, chosen, rendering.cut(index, 1), tmp_path)
    wrong = late(index, 12, 1)
    with pytest.raises(FarmError, match="not planned"):
        join_film(source, wrong, chosen, pairs, out, "mp4")
    packets_late(source, index, chosen, pairs[0][1], out)
    bad = failed(verify_film(source, out, source_index=index))
    assert "frame 12 at" in bad["timestamps"].expected
    assert "1 differ" in bad["timestamps"].got


def packets_late(source: Path, index: MediaIndex, chosen: EncoderSettings, segment: Path, out: Path) -> None:
    """The joined film with one picture a tick late, every other packet as it was."""
    whole = out.with_name("whole.mp4")
    join_film(source, index, chosen, [(rendering.cut(index, 1)[0], segment)], whole, "mp4")
    remux(whole, out, lambda p: p.stream_index == index.video.stream_index and p.pts == int(index.pts[12]), 1)


def remux(source: Path, out: Path, chosen: Callable[[av.Packet], bool], ticks: int) -> None:
    with (
        av.open(str(source)) as a,
        av.open(str(out), "w", container_options={"video_track_timescale": "12800", "avoid_negative_ts": "0"}) as b,
    ):
        copies = {}
        for stream in a.streams:
            if stream.type in ("video", "audio", "subtitle"):
                copies[stream.index] = b.add_stream_from_template(stream, opaque=True)
                copies[stream.index].metadata.update(stream.metadata)
                copies[stream.index].disposition = stream.disposition
        b.set_chapters(a.chapters())
        for packet in a.demux([a.streams[i] for i in copies]):
            if packet.size:
                if chosen(packet):
                    packet.pts += ticks
                    if packet.stream.type == "audio":
                        packet.dts += ticks
                packet.stream = copies[packet.stream_index]
                b.mux(packet)


def test_a_dropped_stream(film: tuple[Path, MediaIndex, EncoderSettings], tmp_path: Path) -> None:
    index = film[1]
    sound = next(s for s in index.streams if s.kind == "audio")
    wrong = replace(index, streams=tuple(s for s in index.streams if s is not sound))
    bad = failed(spoiled(film, tmp_path / "out.mp4", wrong))
    assert "streams" in bad


def test_sound_a_little_late(film: tuple[Path, MediaIndex, EncoderSettings], tmp_path: Path) -> None:
    source, index, chosen = film
    whole, out = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    rendering.render(source, index, chosen, whole)
    sound = next(s for s in index.streams if s.kind == "audio")
    remux(whole, out, lambda p: p.stream_index == sound.index and p.pts > 40000, 1)
    bad = failed(verify_film(source, out, source_index=index))
    assert f"stream {sound.index}: times" in bad


def test_an_altered_sound_packet(film: tuple[Path, MediaIndex, EncoderSettings], tmp_path: Path) -> None:
    source, index, chosen = film
    out = tmp_path / "out.mp4"
    rendering.render(source, index, chosen, out)
    sound = next(s for s in index.streams if s.kind == "audio")
    with av.open(str(out)) as container:
        packet = [p for p in container.demux(container.streams[sound.index]) if p.size][20]
        at = packet.pos + packet.size // 2
    data = bytearray(out.read_bytes())
    data[at] ^= 1
    out.write_bytes(data)
    bad = failed(verify_film(source, out, source_index=index))
    assert list(bad) == [f"stream {sound.index}: packets"]
    assert "first difference at packet 20" in bad[f"stream {sound.index}: packets"].got


WRONG_PICTURE: dict[str, Callable[[MediaIndex], MediaIndex]] = {
    "sample aspect": lambda i: replace(i, video=replace(i.video, sample_aspect_ratio=Fraction(4, 3))),
    "colour": lambda i: replace(i, video=replace(i.video, colour=Colour(9, 16, 9, 1, 1))),
    "display matrix": lambda i: replace(
        i, video=replace(i.video, display_matrix=(0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30))
    ),
    "last frame lasts": lambda i: replace(i, duration=np.concatenate([i.duration[:-1], i.duration[-1:] + 7])),
    "chapters": lambda i: replace(i, chapters=(*i.chapters[:-1], replace(i.chapters[-1], tags={"title": "Z"}))),
    "tags": lambda i: replace(i, tags={**i.tags, "title": "another"}),
}


@pytest.mark.parametrize("name", sorted(WRONG_PICTURE))
def test_a_changed_description(name: str, film: tuple[Path, MediaIndex, EncoderSettings], tmp_path: Path) -> None:
    bad = failed(spoiled(film, tmp_path / "out.mp4", WRONG_PICTURE[name](film[1])))
    assert name in bad
    assert bad[name].expected != bad[name].got


def test_depth_and_codec_are_as_promised(film: tuple[Path, MediaIndex, EncoderSettings], tmp_path: Path) -> None:
    source, index, chosen = film
    out = tmp_path / "out.mp4"
    rendering.render(source, index, chosen, out)
    bad = failed(verify_film(source, out, source_index=index, settings=replace(chosen, codec="hevc")))
    assert (bad["codec"].expected, bad["codec"].got) == ("hevc", "h264")
    deep = replace(index, video=replace(index.video, pix_fmt="yuv420p10le"))
    assert failed(verify_film(source, out, source_index=deep))["depth and chroma"].expected == "yuv420p10le"


def test_added_tags_must_be_there(film: tuple[Path, MediaIndex, EncoderSettings], tmp_path: Path) -> None:
    source, index, chosen = film
    tags = {"AIGC": '{"Label":"1"}'}
    plain, marked = tmp_path / "plain.mp4", tmp_path / "marked.mp4"
    rendering.render(source, index, chosen, plain)
    rendering.render(source, index, chosen, marked, tags=tags)
    assert "absent" in failed(verify_film(source, plain, extra_tags=tags))["tags"].got
    assert failed(verify_film(source, marked, extra_tags=tags)) == {}
    assert "tags" in failed(verify_film(source, marked, extra_tags={}))
    assert failed(verify_film(source, marked)) == {}


@pytest.mark.parametrize("name", ["hdr10_mp4", "hdr10_mkv"])
def test_mastering_data_must_be_the_same(name: str, folder: Path, tmp_path: Path) -> None:
    source = make_clip(name, folder)
    index = index_film(source)
    assert index.video.mastering is not None
    chosen, out = rendering.lossless(index, tmp_path / source.name)
    dimmer = replace(index.video.mastering, max_luminance=Fraction(500))
    wrong = replace(index, video=replace(index.video, mastering=dimmer))
    again = rendering.settings(wrong, container_for(out, index), rendering.LOSSLESS)
    assert again is not None
    rendering.render(source, wrong, again, out)
    assert list(failed(verify_film(source, out, source_index=index, settings=chosen))) == ["mastering display"]


def test_a_broken_picture_is_found(film: tuple[Path, MediaIndex, EncoderSettings], tmp_path: Path) -> None:
    source, index, chosen = film
    out = tmp_path / "out.mp4"
    rendering.render(source, index, chosen, out, pieces=0)
    second = int(np.flatnonzero(index.key)[1])
    with av.open(str(out)) as container:
        pts = int(index.pts[second])
        packet = next(p for p in container.demux(container.streams[index.video.stream_index]) if p.pts == pts)
        at, size = packet.pos, packet.size
    data = bytearray(out.read_bytes())
    data[at + 4 : at + size] = bytes(size - 4)
    out.write_bytes(data)
    bad = failed(verify_film(source, out, source_index=index, joints=[0, second]))
    assert list(bad) == ["keyframes decode"]
    assert f"frame {second}" in bad["keyframes decode"].got
