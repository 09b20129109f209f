"""Rendering a segment: every frame, in order, replaced where it should be and untouched elsewhere, for any cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import InputError, PlanError
from core.media.compare import frame_hash, frame_hashes
from core.media.decode import DecodedFrame, decode_segment
from core.media.index import index_film
from core.media.planes import plane_views, to_working, working_format
from core.records import FaceTable, MediaIndex, Segment, SegmentReceipt, SourceIdentity, WorkOrder
from core.swap.chain import RING, Chain, Clock
from core.swap.mesh import MeshSwapper
from core.swap.replace import Replacer
from core.swap.segment import render_segment
from core.swap.swapper import Swapper, open_swapper
from core.trust.label import label_for
from tests.core.media import rendering
from tests.core.swap.conftest import Film
from tests.faces_assets import made_up_faces
from tests.frames import NOBODY, Negative, roles_of
from tests.media_clips import make_clip

# every pixel format family, B-frames, open GOP, rotation, pixel shape, odd sizes
CLIPS = (
    "cfr_mp4",
    "h264_10bit_mkv",
    "h264_422_mp4",
    "hevc_444_12bit_mkv",
    "h264_gray_mkv",
    "odd_ffv1_mkv",
    "ffv1_rgb_mkv",
    "ffv1_alpha_mkv",
    "sar_mp4",
    "mjpeg_avi",
    "vfr_mkv",
)


def some_faces(index: MediaIndex, frames: Sequence[int], radius: float = 12.0) -> FaceTable:
    """A face that wanders over the picture on these frames, to be replaced."""
    at = np.asarray(frames)
    size = np.array([index.video.width, index.video.height])
    centres = size * (0.3 + 0.4 * np.stack([np.sin(at / 9) ** 2, np.cos(at / 7) ** 2], axis=1))
    table = made_up_faces(at, centres, radius)
    return replace(table, role=np.zeros(len(at), np.int32))


def rendered(
    source: Path,
    index: MediaIndex,
    segments: Sequence[Segment],
    folder: Path,
    *,
    faces: FaceTable,
    swapper: Swapper | None,
    identity: SourceIdentity = NOBODY,
) -> tuple[list[str], list[NDArray[np.integer]], list[SegmentReceipt]]:
    """Hash and first plane of each frame of the segments' lossless files, and the receipts."""
    chosen, _ = rendering.lossless(index, folder / f"out{source.suffix}")
    hashes: list[str] = []
    firsts: list[NDArray[np.integer]] = []
    receipts = []
    for segment in segments:
        path = folder / f"{len(segments)}-{segment.index}.seg"
        beats: list[int] = []
        order = WorkOrder(f"order {segment.index}", segment, str(source), index.sha256, "index", chosen)
        receipt = render_segment(
            source=source,
            index=index,
            order=order,
            faces=faces,
            roles=roles_of(swapper, identity) if swapper is not None else [],
            output=path,
            threads=1,
            heartbeat=beats.append,
        )
        assert beats == list(range(1, segment.frames + 1))
        assert receipt.frames == segment.frames
        assert receipt.order_id == order.id
        assert (receipt.pts_first, receipt.pts_last) == (
            int(index.pts[segment.first]),
            int(index.pts[segment.end - 1]),
        )
        receipts.append(receipt)
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                hashes.append(frame_hash(frame))
                firsts.append(plane_views(to_working(frame, working_format(frame.format.name)))[0].copy())
    return hashes, firsts, receipts


@pytest.mark.parametrize("name", CLIPS)
def test_same_frames_however_cut(name: str, clips: Path, tmp_path: Path) -> None:
    """Faces on some frames: these change, all others keep their bits, for 1 segment and one a keyframe."""
    source = make_clip(name, clips)
    index = index_film(source)
    frames = [frame for frame in range(index.frames) if frame % 10 in (2, 3, 7)]
    results = []
    for pieces in (1, 0):
        hashes, _, receipts = rendered(
            source, index, rendering.cut(index, pieces), tmp_path, faces=some_faces(index, frames), swapper=Negative()
        )
        assert sum(receipt.faces_replaced for receipt in receipts) == len(frames)
        assert sum(receipt.frames_replaced for receipt in receipts) == len(frames)
        results.append(hashes)
    assert results[0] == results[1]
    original = frame_hashes(source, index)
    changed = [frame for frame, (old, new) in enumerate(zip(original, results[0], strict=True)) if old != new]
    assert changed == frames


def test_without_a_swapper_nothing_changes(clips: Path, tmp_path: Path) -> None:
    source = make_clip("cfr_mp4", clips)
    index = index_film(source)
    nobody = replace(some_faces(index, range(9)), role=np.full(9, -1, np.int32))
    for faces, swapper in ((FaceTable.empty(), Negative()), (nobody, None), (nobody, Negative())):
        hashes, _, receipts = rendered(source, index, rendering.cut(index, 2), tmp_path, faces=faces, swapper=swapper)
        assert hashes == frame_hashes(source, index)
        assert [receipt.faces_replaced for receipt in receipts] == [0, 0]


def test_only_face_and_label_change(clips: Path, tmp_path: Path) -> None:
    """Painting on a frame never reaches the frames that the decoder predicts from it."""
    source = make_clip("cfr_mp4", clips)
    index = index_film(source)
    faces = some_faces(index, range(0, index.frames, 2))
    _, firsts, _ = rendered(source, index, rendering.cut(index, 1), tmp_path, faces=faces, swapper=Negative())
    x0, y0, x1, y1 = label_for(index, "yuv420p").box
    rows, columns = np.mgrid[0 : index.video.height, 0 : index.video.width]
    for item in decode_segment(source, index, rendering.cut(index, 1)[0]):
        old, new = plane_views(item.frame)[0], firsts[item.ordinal]
        untouched = np.ones(old.shape, bool)
        if item.ordinal % 2 == 0:
            x, y = faces.points[item.ordinal // 2].mean(axis=0)
            extent = float(np.ptp(faces.points[item.ordinal // 2], axis=0).max())
            untouched = np.hypot(columns - x, rows - y) > 2.5 * extent * 0.45 + 3
            untouched[y0:y1, x0:x1] = False
            assert (old[y0:y1, x0:x1] != new[y0:y1, x0:x1]).mean() > 0.3
            assert (old[~untouched] != new[~untouched]).any()
        assert np.array_equal(old[untouched], new[untouched])


def test_untouched_frames_are_not_copied_and_the_ring_is_bounded(clips: Path) -> None:
    source = make_clip("cfr_mp4", clips)
    index = index_film(source)
    swapper = Negative()
    replacer = Replacer(index, "yuv420p", some_faces(index, [3, 40]), roles_of(swapper))
    taken: dict[int, int] = {}
    given = 0

    def counted(items: list[DecodedFrame]) -> Iterator[DecodedFrame]:
        for item in items:
            taken[item.ordinal] = item.frame.planes[0].buffer_ptr
            assert len(taken) - given <= RING
            yield item

    decoded = list(decode_segment(source, index, rendering.cut(index, 1)[0]))
    for item in Chain(replacer, Clock()).through(counted(decoded)):
        assert item.ordinal == given
        given += 1
        if item.ordinal not in (3, 40):
            assert item.frame.planes[0].buffer_ptr == taken[item.ordinal]
    assert given == index.frames
    assert swapper.batches == [1, 1]


def test_reasons_for_leaving_a_face_alone(clips: Path, tmp_path: Path) -> None:
    source = make_clip("cfr_mp4", clips)
    index = index_film(source)
    faces = some_faces(index, range(6))
    mesh, points, box, chosen = (np.array(getattr(faces, name)) for name in ("mesh", "points", "box", "role"))
    chosen[0] = -1
    mesh[1] = np.nan
    box[2] = (500, 500, 600, 600)
    mesh[3] = 40  # one point
    mesh[4] = 40 + 0.02 * (mesh[4] - 40)
    faces = replace(faces, mesh=mesh, points=points, box=box, role=chosen)
    hashes, _, receipts = rendered(
        source, index, rendering.cut(index, 1), tmp_path, faces=faces, swapper=MeshSwapper(), identity=face_of_dots()
    )
    expected = {"no area": 1, "no mesh": 1, "not selected": 1, "outside the picture": 1, "too small": 1}
    assert receipts[0].faces_skipped == expected
    assert receipts[0].faces_replaced == 1
    original = frame_hashes(source, index)
    assert [old != new for old, new in zip(original, hashes, strict=True)][:7] == [False] * 5 + [True, False]


def face_of_dots() -> SourceIdentity:
    mesh = some_mesh()
    return SourceIdentity("dots", "0" * 64, 1, np.full((64, 64, 3), 128, np.uint8), mesh, np.ones(4, np.float32))


def some_mesh() -> NDArray[np.float32]:
    return np.asarray(made_up_faces(range(1), np.array([[32.0, 32.0]]), 28).mesh[0])


def test_damage_is_listed_and_rendered(clips: Path, tmp_path: Path) -> None:
    whole = make_clip("h264_mkv", clips)
    index = index_film(whole)
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(bytes(data))
    _, firsts, receipts = rendered(
        broken, index, rendering.cut(index, 1), tmp_path, faces=some_faces(index, range(75)), swapper=Negative()
    )
    assert len(firsts) == index.frames
    assert receipts[0].damage
    assert all(int(index.pts[damage.frame]) == damage.pts and damage.reason for damage in receipts[0].damage)


def test_faces_of_roles_that_the_order_has_not_are_our_fault(clips: Path, tmp_path: Path) -> None:
    source = make_clip("cfr_mp4", clips)
    index = index_film(source)
    two = replace(some_faces(index, [1]), role=np.ones(1, np.int32))
    for faces, swapper, message in ((some_faces(index, [1]), None, "role 0 of 0"), (two, Negative(), "role 1 of 1")):
        with pytest.raises(PlanError, match=message):
            rendered(source, index, rendering.cut(index, 1), tmp_path, faces=faces, swapper=swapper)


def test_real_faces_however_cut(film: Film, identity: SourceIdentity, tmp_path: Path) -> None:
    swapper = open_swapper("mesh")
    results = []
    for pieces in (1, 0):
        hashes, _, receipts = rendered(
            film.path,
            film.index,
            rendering.cut(film.index, pieces),
            tmp_path,
            faces=film.faces,
            swapper=swapper,
            identity=identity,
        )
        assert sum(receipt.faces_replaced for receipt in receipts) == film.index.frames
        assert {receipt.provider for receipt in receipts} == {"OpenCV"}
        assert set(receipts[0].seconds) == {"decode", "crop", "swap", "paste", "encode"}
        results.append(hashes)
    assert results[0] == results[1]
    assert not set(results[0]) & set(frame_hashes(film.path, film.index))


def test_unknown_swapper() -> None:
    with pytest.raises(InputError, match="unknown swapper nobody"):
        open_swapper("nobody")
