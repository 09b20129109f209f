"""Segments are whole GOPs that cover the film once, and start where decoding is certain."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from core.media.plan import FACE_FRAMES, LEAST_PART, has_leading, plan_balanced, plan_segments
from core.records import Colour, MediaIndex, StreamInfo, VideoInfo


def table(durations: list[int], keys: list[int], packet: list[int] | None = None) -> MediaIndex:
    """An index with frames of the given durations in ms and keyframes at the given ordinals."""
    count = len(durations)
    pts = np.concatenate([[0], np.cumsum(durations)[:-1]]).astype(np.int64) + 1000
    video = VideoInfo(0, "h264", 128, 96, "yuv420p", Fraction(1), None, 0, 1, Fraction(25), Colour(), None, None, 2)
    key = np.zeros(count, bool)
    key[keys] = True
    key[0] = True
    return MediaIndex(
        sha256="", size_bytes=0, format="mov", video=video, time_base=Fraction(1, 1000), pts=pts,
        duration=np.array(durations), key=key, packet=np.arange(count) if packet is None else np.array(packet),
        streams=(StreamInfo(0, "video", "h264", "avc1", Fraction(1, 1000), 1, {}),), chapters=(), tags={},
    )  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(1, 4000), min_size=1, max_size=80),
    st.sets(st.integers(0, 79)),
    st.fractions(-1, 20),
)
def test_segments_cover_the_film_once(durations: list[int], keys: set[int], seconds: Fraction) -> None:
    index = table(durations, [key for key in keys if key < len(durations)])
    segments = plan_segments(index, seconds)
    assert [segment.index for segment in segments] == list(range(len(segments)))
    assert segments[0].first == 0
    assert segments[-1].end == index.frames
    assert segments[-1].pts_end == index.end_pts
    for one, two in pairwise(segments):
        assert (one.end, one.pts_end) == (two.first, two.pts_first)
    for segment in segments:
        assert index.key[segment.first]
        assert segment.seek == segment.first
        assert segment.pts_first == index.pts[segment.first]
    if seconds <= 0:
        assert len(segments) == int(index.key.sum())
    else:
        assert all(s.pts_end - s.pts_first >= seconds * 1000 for s in segments[:-1])


def test_a_short_remainder_joins_the_last_segment() -> None:
    index = table([40] * 110, list(range(0, 110, 10)))
    assert [s.frames for s in plan_segments(index, Fraction(1))] == [30, 30, 30, 20]
    assert [s.frames for s in plan_segments(index, Fraction(2))] == [50, 60]


def test_leading_frames_start_decoding_one_keyframe_earlier() -> None:
    """Keyframe 6 is stored before frames 4 and 5, which are shown before it."""
    index = table([40] * 9, [0, 3, 6], packet=[0, 1, 2, 3, 5, 6, 4, 7, 8])
    assert has_leading(index.key, index.packet).tolist() == [False] * 6 + [True] + [False] * 2
    assert [(s.first, s.end, s.seek, s.pts_seek) for s in plan_segments(index, Fraction(0))] == [
        (0, 3, 0, 1000),
        (3, 6, 3, 1120),
        (6, 9, 3, 1120),
    ]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 5)), min_size=1, max_size=80), st.data())
def test_balanced_segments_cover_the_film_once(frames: list[tuple[int, int]], data: st.DataObject) -> None:
    keys = data.draw(st.sets(st.integers(0, len(frames) - 1)))
    seconds = data.draw(st.fractions(-1, 20))
    index = table([one for one, _ in frames], list(keys))
    faces = np.array([count for _, count in frames], np.int32)
    segments = plan_balanced(index, seconds, faces)
    assert [segment.index for segment in segments] == list(range(len(segments)))
    assert (segments[0].first, segments[-1].end, segments[-1].pts_end) == (0, index.frames, index.end_pts)
    for one, two in pairwise(segments):
        assert (one.end, one.pts_end) == (two.first, two.pts_first)
    assert all(index.key[segment.first] for segment in segments)
    if seconds <= 0:
        assert len(segments) == int(index.key.sum())
        return
    # A run of less than one and a half shares is one segment; parts of longer ones are at most that, and one GOP.
    work = 1 + FACE_FRAMES * faces
    share = Fraction(int(work.sum()), len(plan_segments(index, seconds)))
    bounds = [*np.flatnonzero(index.key).tolist(), index.frames]
    largest = max(int(work[a:b].sum()) for a, b in pairwise(bounds))
    assert all(int(work[s.first : s.end].sum()) <= Fraction(3, 2) * share + largest for s in segments)
    # Where faces begin or end, a segment does, unless it is small until there or little is left of the film.
    for first, end in pairwise(bounds[:-1]):
        segment = next(s for s in segments if s.first <= end < s.end)
        turns = bool(faces[first:end].any()) != bool(faces[end : bounds[bounds.index(end) + 1]].any())
        small = min(int(work[segment.first : end].sum()), int(work[end:].sum()))
        assert not turns or end == segment.first or LEAST_PART * small < share


def test_faces_make_segments_shorter_and_empty_stretches_segments_of_their_own() -> None:
    """Forty seconds in GOPs of one: faces from 10 to 20, so 40 + 2 * 10 frames' work for four segments, 15 each."""
    index = table([1000] * 40, list(range(40)))
    faces = np.zeros(40, np.int32)
    assert [s.frames for s in plan_balanced(index, Fraction(10), faces)] == [10, 10, 10, 10]
    faces[10:20] = 1
    assert [(s.first, s.end) for s in plan_balanced(index, Fraction(10), faces)] == [
        (0, 10), (10, 15), (15, 20), (20, 40),
    ]  # fmt: skip
    faces[:] = 1
    assert [s.frames for s in plan_balanced(index, Fraction(10), faces)] == [10, 10, 10, 10]
