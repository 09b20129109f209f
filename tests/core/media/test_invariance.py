"""However a film is cut, the same frames come out, at the same times: every clip kind, in 1, 2, 7 and one segment a
keyframe, lossless."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.media.compare import frame_hashes
from core.media.encode import SegmentEncoder, resolve_encoder
from core.media.index import index_film
from core.media.join import join_film
from core.media.verify import verify_film
from core.records import EncodeSpec, MediaIndex
from tests.choice import USUAL_CLIPS, but
from tests.core.media import rendering
from tests.faces_assets import carphone_clip
from tests.media_clips import CLIPS, make_clip

CUTS = (1, 2, 7, 0)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


def times(index: MediaIndex) -> list[Fraction]:
    return [int(pts) * index.time_base for pts in index.pts]


@pytest.mark.parametrize("name", but(sorted(CLIPS), USUAL_CLIPS))
def test_identity_render_keeps_every_frame_and_time(name: str, clips: Path, tmp_path: Path) -> None:
    source = make_clip(name, clips)
    index = index_film(source)
    chosen, output = rendering.lossless(index, tmp_path / source.name)
    expected = frame_hashes(source, index)
    done: set[tuple[int, ...]] = set()
    for pieces in CUTS:
        firsts = tuple(s.first for s in rendering.cut(index, pieces))
        if firsts in done:
            continue
        done.add(firsts)
        out = output.with_name(f"{pieces}{output.suffix}")
        rendering.render(source, index, chosen, out, pieces=pieces)
        made = index_film(out)
        assert times(made) == times(index)
        assert frame_hashes(out, made) == expected
    report = verify_film(source, out, source_index=index, settings=chosen)
    assert [c for c in report.checks if not c.ok] == []


LOSSY = ("av1_mp4", "av1_mkv", "prores_mov", "prores4444_alpha_mov", "timecode_mov", "hdr10_mp4", "tff_mp4", "vp9_webm")


@pytest.mark.parametrize("name", LOSSY)
def test_default_quality_keeps_times_and_tags(name: str, clips: Path, tmp_path: Path) -> None:
    source = make_clip(name, clips)
    index = index_film(source)
    output = tmp_path / source.name
    container = rendering.container_for(output, index)
    chosen = rendering.settings(index, container, rendering.FAST)
    assert chosen is not None
    rendering.render(source, index, chosen, output, pieces=0)
    report = verify_film(source, output, source_index=index, settings=chosen)
    assert [c for c in report.checks if not c.ok] == []


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_cut_by_keyframes_gives_one_film(
    data: st.DataObject, clips: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name = data.draw(st.sampled_from(["vfr_mp4", "open_gop_mp4", "late_video_mp4"]))
    source = make_clip(name, clips)
    index = index_film(source)
    keys = np.flatnonzero(index.key)
    starts = sorted({0, *data.draw(st.sets(st.sampled_from(keys.tolist())))})
    whole = rendering.cut(index, 0)
    by_first = {s.first: s for s in whole}
    ends = [*starts[1:], index.frames]
    segments = []
    for number, (first, end) in enumerate(zip(starts, ends, strict=True)):
        base = by_first[first]
        last = int(index.pts[end]) if end < index.frames else index.end_pts
        segments.append(rendering.Segment(number, first, end, base.seek, base.pts_first, last, base.pts_seek))
    folder = tmp_path_factory.mktemp("cut")
    chosen, output = rendering.lossless(index, folder / source.name)
    pairs = rendering.encode(source, index, chosen, segments, folder)
    rendering.join_film(source, index, chosen, pairs, output, rendering.container_for(output, index))
    made = index_film(output)
    assert times(made) == times(index)
    assert frame_hashes(output, made) == frame_hashes(source, index)


def test_lossless_h264_is_exact_on_a_real_recording(tmp_path: Path) -> None:
    """Camera noise on still ground is where an encoder skips what differs by a level."""
    source = carphone_clip(tmp_path)
    index = index_film(source)
    chosen = resolve_encoder(index, EncodeSpec("h264", 0, "medium"), "mp4")
    segments = rendering.cut(index, 2)
    files = [(segment, tmp_path / f"{segment.index}.mp4") for segment in segments]
    for segment, path in files:
        with SegmentEncoder(path, chosen, index, segment) as encoder:
            for item in rendering.decode_segment(source, index, segment):
                encoder.write(item.frame, item.pts)
            encoder.close()
    output = tmp_path / "out.mp4"
    join_film(source, index, chosen, files, output, "mp4")
    assert frame_hashes(output, index_film(output)) == frame_hashes(source, index)
