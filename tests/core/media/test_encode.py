"""Segments: constant quality, exact times, parameter sets that do not depend on threads, plain refusals."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from core.errors import InputError, PlanError, StorageError
from core.media.compare import frame_hash
from core.media.encode import SegmentEncoder, resolve_encoder, try_encoder
from core.media.encoders import FAMILIES, fitting_format
from core.media.index import index_film
from core.media.planes import repacked
from core.records import EncoderSettings, EncodeSpec, MediaIndex
from tests.actors.films import make_film
from tests.core.media import rendering
from tests.media_clips import make_clip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encode")


def whole(source: Path, index: MediaIndex, settings: EncoderSettings, path: Path, threads: int) -> bytes:
    """Encode the film as one segment; the encoder's parameter sets."""
    segment = rendering.cut(index, 1)[0]
    with SegmentEncoder(path, settings, index, segment, threads) as encoder:
        for frame in rendering.decode_segment(source, index, segment):
            encoder.write(frame.frame, frame.pts)
        done = encoder.close()
    assert (done.frames, done.size_bytes) == (index.frames, path.stat().st_size)
    assert done.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with av.open(str(path)) as file:
        assert len(file.streams) == 1
        return file.streams.video[0].codec_context.extradata or b""


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9", "ffv1"])
def test_parameter_sets_do_not_depend_on_threads(codec: str, clips: Path, tmp_path: Path) -> None:
    source = make_clip("cfr_mp4", clips)
    index = index_film(source)
    settings = resolve_encoder(index, EncodeSpec(codec), "matroska")
    assert len({whole(source, index, settings, tmp_path / f"{n}.seg", n) for n in (1, 2, 5)}) == 1


NEEDED = {
    "sse2": {"sse2"},
    "avx2": {"avx2", "bmi2"},
    "avx512": {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"},
}


def processor_flags() -> set[str]:
    """What this processor can, in the kernel's words; nothing where it is not said so, as on ARM."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return set(next((line for line in lines if line.startswith("flags")), "").split())


@pytest.mark.parametrize(
    ("codec", "option", "processors"),
    [
        ("h264", "x264-params", ("0", "SSE2", "AVX2", "AVX512")),
        ("hevc", "x265-params", ("0", "AVX2", "avx512")),
        ("av1", "svtav1-params", ("c", "avx2")),
        ("vp9", "", ()),
        ("ffv1", "", ()),
    ],
)
def test_the_same_frames_make_the_same_segment(
    codec: str, option: str, processors: tuple[str, ...], tmp_path: Path
) -> None:
    """Again and again, two at a time, as a renderer does, and on processors with and without their extensions. x264 by
    itself makes others with each, and with AVX-512 another one nearly each time."""
    source = make_film(tmp_path / "film.mp4", seconds=3, size="320x240")
    index = index_film(source)
    settings = resolve_encoder(index, EncodeSpec(codec), "matroska")
    own, flags = settings.options.get(option), processor_flags()
    those = [
        replace(settings, options={**settings.options, option: ":".join(filter(None, (own, f"asm={name}")))})
        for name in processors
        if flags >= NEEDED.get(name.lower(), set())  # an encoder does not ask whether the processor can
    ]

    def made(number: int) -> tuple[int, str]:
        segment, path = rendering.cut(index, 3)[number % 3], tmp_path / f"{number}.seg"
        with SegmentEncoder(path, [settings, settings, *those][number // 3], index, segment, 2) as encoder:
            for frame in rendering.decode_segment(source, index, segment):
                encoder.write(frame.frame, frame.pts)
            return segment.index, encoder.close().sha256

    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(made, range(3 * (2 + len(those)))))) == 3


@pytest.mark.parametrize("name", ["h264", "hevc", "av1", "vp9"])
def test_crf_zero_is_lossless(name: str, clips: Path, tmp_path: Path) -> None:
    source = make_clip("cfr_mp4", clips)
    index = index_film(source)
    settings = resolve_encoder(index, EncodeSpec(name, 0), "mp4")
    whole(source, index, settings, tmp_path / "out.mp4", 2)
    with av.open(str(source)) as a, av.open(str(tmp_path / "out.mp4")) as b:
        assert [frame_hash(f) for f in a.decode(video=0)] == [frame_hash(f) for f in b.decode(video=0)]


def test_mixed_field_flags_are_coded_faithfully(clips: Path, tmp_path: Path) -> None:
    fields, plain = make_clip("tff_mp4", clips), make_clip("cfr_mp4", clips)
    index = index_film(fields)
    settings = resolve_encoder(index, EncodeSpec(None, 0), "mp4")
    segment = rendering.cut(index, 1)[0]
    frames = [f.frame for f in rendering.decode_segment(fields, index, segment)]
    other = index_film(plain)
    flat = [f.frame for f in rendering.decode_segment(plain, other, rendering.cut(other, 1)[0])]
    mixed = [(frames if n // 5 % 2 else flat)[n] for n in range(min(len(frames), len(flat)))]
    assert len(mixed) == index.frames
    expected = [frame_hash(f) for f in mixed]
    with SegmentEncoder(tmp_path / "out.mp4", settings, index, segment, 2) as encoder:
        for frame, pts in zip(mixed, index.pts, strict=True):
            encoder.write(frame, int(pts))
        encoder.close()
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert [frame_hash(f) for f in file.decode(video=0)] == expected


def test_frames_out_of_place_are_refused(clips: Path, tmp_path: Path) -> None:
    source = make_clip("cfr_mp4", clips)
    index = index_film(source)
    settings = resolve_encoder(index, EncodeSpec(preset="ultrafast"), "mp4")
    segment = rendering.cut(index, 1)[0]
    frames = list(rendering.decode_segment(source, index, segment))
    with SegmentEncoder(tmp_path / "a.mp4", settings, index, segment) as encoder:
        encoder.write(frames[0].frame, frames[0].pts)
        with pytest.raises(PlanError, match="frame 1 has pts"):
            encoder.write(frames[2].frame, frames[2].pts)
        with pytest.raises(PlanError, match="1 frames written"):
            encoder.close()


def test_a_folder_that_is_not_there_is_a_storage_error(clips: Path, tmp_path: Path) -> None:
    source = make_clip("cfr_mp4", clips)
    index = index_film(source)
    settings = resolve_encoder(index, EncodeSpec(preset="ultrafast"), "mp4")
    with pytest.raises(StorageError, match="No such file"):
        rendering.encode(source, index, settings, rendering.cut(index, 1), tmp_path / "none")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (EncodeSpec("divx"), "no codec divx"),
        (EncodeSpec("h264", 99), "crf 0 to 51, not 99"),
        (EncodeSpec("h264", None, "quick"), "no preset quick"),
        (EncodeSpec("av1", None, "medium"), "no preset medium"),
        (EncodeSpec("ffv1", 3), "ffv1 has no crf"),
        (EncodeSpec("prores"), "mp4 does not carry prores"),
    ],
)
def test_wishes_that_cannot_be_met(spec: EncodeSpec, message: str, clips: Path) -> None:
    index = index_film(make_clip("cfr_mp4", clips))
    with pytest.raises(InputError, match=message):
        resolve_encoder(index, spec, "mp4")


def test_the_codec_is_the_sources_or_said(clips: Path) -> None:
    hevc = resolve_encoder(index_film(make_clip("hevc_mp4", clips)), EncodeSpec(), "mp4")
    assert (hevc.encoder, hevc.notes) == ("libx265", ())
    mpeg2 = resolve_encoder(index_film(make_clip("mpeg2_ts", clips)), EncodeSpec(), "mpegts")
    assert mpeg2.encoder == "libx264"
    assert "mpeg2video" in mpeg2.notes[0]
    assert resolve_encoder(index_film(make_clip("vp8_webm", clips)), EncodeSpec(), "webm").codec == "vp9"


def test_depth_is_never_lost_in_silence(clips: Path) -> None:
    index = index_film(make_clip("h264_10bit_mkv", clips))
    assert resolve_encoder(index, EncodeSpec(), "matroska").pix_fmt == "yuv420p10le"
    with pytest.raises(InputError, match="vp9 cannot carry yuv420p10le"):
        resolve_encoder(index, EncodeSpec("vp9"), "matroska")


def test_encoders_are_tried_for_real() -> None:
    for row in FAMILIES.values():
        name = row.encoders[0]
        pix_fmt = fitting_format(name, "yuv420p") or "yuv422p10le"
        assert try_encoder(name, pix_fmt) is None
    assert try_encoder("no_such_encoder") is not None


def test_relabelling_moves_samples_only() -> None:
    rng = np.random.default_rng(1)
    full = av.VideoFrame.from_ndarray(rng.integers(0, 256, (144, 64), np.uint8), "yuvj420p")
    full.color_range = 2
    assert (repacked(full, "yuv420p").to_ndarray() == full.to_ndarray()).all()
    rgb = av.VideoFrame.from_ndarray(rng.integers(0, 256, (96, 64, 3), np.uint8), "gbrp")
    assert (repacked(rgb, "rgb24").to_ndarray(format="rgb24") == rgb.to_ndarray(format="rgb24")).all()


def test_a_film_without_a_rate_gets_frames_over_time(clips: Path) -> None:
    index = index_film(make_clip("cfr_mp4", clips))
    unknown = replace(index, video=replace(index.video, frame_rate=Fraction(0)))
    assert resolve_encoder(unknown, EncodeSpec(), "mp4").frame_rate == 25


@pytest.mark.parametrize("family", ["h264", "hevc", "av1"])
def test_captions_stay_with_their_frames_or_the_user_is_told(family: str, clips: Path, tmp_path: Path) -> None:
    source = make_clip("captions_mp4", clips)
    index = index_film(source)
    chosen = resolve_encoder(index, EncodeSpec(codec=family), "mp4")
    path = tmp_path / "segment.mp4"
    whole(source, index, chosen, path, 1)
    expected = captions(source)
    assert len(expected) == len(set(expected)) + 55 == 75  # 20 different ones in turn
    assert captions(path) == (expected if family != "av1" else [])
    assert any("captions" in note for note in chosen.notes) == (family == "av1")


def captions(path: Path) -> list[bytes]:
    """The captions of the frames that have some, in the order in which they are shown."""
    with av.open(str(path)) as film:
        sides = [side for frame in film.decode(video=0) for side in frame.side_data]
        return [bytes(side) for side in sides if side.type.name == "A53_CC"]
