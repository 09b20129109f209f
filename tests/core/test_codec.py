"""Records survive JSON unchanged, equal records have equal bytes, and altered files are refused in one line."""

from __future__ import annotations

import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from core import codec
from core.errors import FarmError, InputError, Interrupted, ModelError, PolicyError, StorageError, VerifyFailed
from core.records import Colour, EncoderSettings, FaceTable, JobSpec, MediaIndex, Segment, SourceSpec, VideoInfo

VIDEO = VideoInfo(
    stream_index=0,
    codec="h264",
    width=64,
    height=48,
    pix_fmt="yuv420p",
    sample_aspect_ratio=Fraction(1),
    display_matrix=None,
    rotation=0,
    field_order=0,
    frame_rate=Fraction(30000, 1001),
    colour=Colour(),
    mastering=None,
    profile=None,
    reorder_depth=2,
)


def index_of(steps: list[int], start: int) -> MediaIndex:
    pts = start + np.cumsum([0, *steps])
    n = len(pts)
    return MediaIndex(
        sha256="00",
        size_bytes=1,
        format="mov",
        video=VIDEO,
        time_base=Fraction(1, 90000),
        pts=pts,
        duration=np.ones(n, np.int64),
        key=np.arange(n) == 0,
        packet=np.arange(n),
        streams=(),
        chapters=(),
        tags={"title": "ünïcode"},
    )


@given(st.lists(st.integers(1, 2**40), max_size=50), st.integers(-(2**40), 2**40))
def test_an_index_survives_json(steps: list[int], start: int) -> None:
    index = index_of(steps, start)
    again = codec.decode(codec.encode(index), MediaIndex)
    assert np.array_equal(again.pts, index.pts)
    assert again.pts.dtype == np.int64
    assert again.video == index.video
    assert codec.encode(again) == codec.encode(index)
    assert codec.digest(again) == codec.digest(index)


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(-1e6, 1e6, width=32)))
def test_arrays_keep_every_bit(box: np.ndarray) -> None:
    empty = FaceTable.empty()
    table = FaceTable(
        **{n: np.zeros((3, *getattr(empty, n).shape[1:])) for n in FaceTable.__dataclass_fields__} | {"box": box}
    )
    assert np.array_equal(codec.decode(codec.encode(table), FaceTable).box, box)


def test_arrays_of_records_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        index_of([1], 0).pts[0] = 5


def test_records_refuse_nonsense_at_birth() -> None:
    with pytest.raises(ValueError, match="strictly increasing"):
        index_of([1, 0], 0)
    with pytest.raises(ValueError, match="seek <= first < end"):
        Segment(index=0, first=3, end=3, seek=0, pts_first=0, pts_end=1, pts_seek=0)


def test_equal_jobs_have_equal_names_and_options_change_them() -> None:
    one = JobSpec("a.mp4", "b.mp4", SourceSpec("f.png"))
    assert codec.digest(one) == codec.digest(JobSpec("a.mp4", "b.mp4", SourceSpec("f.png")))
    assert codec.digest(one) != codec.digest(JobSpec("a.mp4", "b.mp4", SourceSpec("f.png", face=2)))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"encoder": 3}', b'{"encoder":"x","codec":"h","pix_fmt":"p"}'])
def test_altered_files_are_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(InputError) as caught:
        codec.decode(data, EncoderSettings)
    assert "EncoderSettings" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "code"),
    [(InputError, 2), (ModelError, 2), (PolicyError, 3), (StorageError, 4), (VerifyFailed, 4), (Interrupted, 130)],
)
def test_errors_are_one_line_and_cross_processes(kind: type[FarmError], code: int) -> None:
    error = kind("it is\nbroken", where="film.mp4", hint="mend it")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == "film.mp4: it is broken; mend it"
    assert again.exit_code == code
