"""Two people in one frame, each given the other's face: one by the mesh, one by a network and an enhancer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from core.faces.analyse import FaceModels, analyse_segment
from core.faces.embed import Recogniser
from core.faces.identity import load_identity
from core.inference.manifest import load_manifests, manifest_folder
from core.inference.providers import DeviceSpec
from core.inference.sessions import Sessions
from core.media.compare import frame_hash
from core.media.encode import resolve_encoder
from core.media.index import index_film
from core.media.plan import plan_segments
from core.media.planes import plane_views
from core.records import (
    EncodeSpec,
    FaceTable,
    MediaIndex,
    Role,
    SegmentReceipt,
    SourceIdentity,
    SourceSpec,
    SwapOptions,
    WorkOrder,
)
from core.swap.segment import render_segment
from core.swap.stages import OpenRole, RoleOpener
from tests.faces_assets import astronaut, carphone_clip, cast_film
from tests.media_clips import ffmpeg

HALF_PX = 368  # the astronaut is left of this column, the man in the car right of it
FRAMES = 8


@dataclass(frozen=True)
class Scene:
    """The film, who is in it (role 0 the astronaut's face, role 1 the man's), and what either becomes."""

    path: Path
    index: MediaIndex
    faces: FaceTable
    sessions: Sessions
    roles: list[tuple[Role, SourceIdentity]]


@pytest.fixture(scope="module")
def scene(models: FaceModels, identity: SourceIdentity, twins: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("two")
    still, car, path = folder / "still.png", carphone_clip(folder, frames=FRAMES), folder / "two.mp4"
    cv2.imwrite(str(still), cv2.resize(astronaut()[:368, 40:408], (HALF_PX, 368))[..., ::-1])
    options = ["-frames:v", str(FRAMES), "-c:v", "libx264", "-crf", "10", "-preset", "ultrafast", "-g", "3"]
    graph = "[0][1]hstack,format=yuv420p"
    ffmpeg("-loop", "1", "-r", "30000/1001", "-i", still, "-i", car, "-filter_complex", graph, *options, path)
    index = index_film(path)
    (whole,) = plan_segments(index, Fraction(100))
    found = analyse_segment(path, index, whole, models, heartbeat=lambda _: None).faces
    cast = cast_film(index, found, "all")
    faces = replace(cast, role=np.asarray(cast.points[:, 2, 0] > HALF_PX, np.int32))
    assert np.bincount(faces.role).tolist() == [FRAMES, FRAMES]
    sessions = Sessions(twins, DeviceSpec(wish="cpu"))
    with av.open(str(car)) as clip:
        first = next(clip.decode(video=0)).to_ndarray(format="bgr24")
    cv2.imwrite(str(folder / "man.png"), first)
    recogniser = Recogniser(sessions.open(load_manifests(manifest_folder())["w600k_r50"]))
    man = load_identity(SourceSpec(str(folder / "man.png")), models, [recogniser])
    enhanced = SwapOptions(enhancer="gpen_256", paste="poisson", colour="light")
    roles = [
        (Role("identity/man.json", "m", "inswapper_128", enhanced, (("inswapper_128", "0" * 64),)), man),
        (Role("identity/woman.json", "w", "mesh"), identity),
    ]
    return Scene(path, index, faces, sessions, roles)


def rendered(
    scene: Scene, faces: FaceTable, roles: Sequence[OpenRole], folder: Path, segment_s: Fraction = Fraction(100)
) -> tuple[list[str], list[NDArray[np.uint8]], list[SegmentReceipt]]:
    """Hash and luma [h,w] of every frame of the lossless segments, and the receipts."""
    chosen = resolve_encoder(scene.index, EncodeSpec("h264", 0, "ultrafast"), "mp4")
    hashes, lumas, receipts = [], [], []
    for segment in plan_segments(scene.index, segment_s):
        path = folder / f"{segment.index}.mp4"
        receipt = render_segment(
            source=scene.path,
            index=scene.index,
            order=WorkOrder("o", segment, str(scene.path), scene.index.sha256, "index", chosen),
            faces=faces,
            roles=roles,
            output=path,
            threads=1,
            heartbeat=lambda _: None,
            sessions=scene.sessions,
        )
        receipts.append(receipt)
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                hashes.append(frame_hash(frame))
                lumas.append(plane_views(frame)[0].copy())
    return hashes, lumas, receipts


def alone(faces: FaceTable, role: int) -> FaceTable:
    return replace(faces, role=np.where(faces.role == role, role, -1).astype(np.int32))


def test_each_is_as_if_the_other_was_left_alone(scene: Scene, tmp_path: Path) -> None:
    """To the bit: either half of the frame is that of a film in which only the person there is replaced."""
    roles = RoleOpener(lambda: scene.sessions).open(scene.roles)
    _, both, (receipt,) = rendered(scene, scene.faces, roles, tmp_path)
    _, left, _ = rendered(scene, alone(scene.faces, 0), roles, tmp_path)
    _, right, _ = rendered(scene, alone(scene.faces, 1), roles, tmp_path)
    _, none, _ = rendered(scene, scene.faces.take(np.zeros(0, int)), roles, tmp_path)
    for together, one, other, before in zip(both, left, right, none, strict=True):
        assert np.array_equal(together[:, :HALF_PX], one[:, :HALF_PX])
        assert np.array_equal(together[:, HALF_PX:], other[:, HALF_PX:])
        assert (together[:, :HALF_PX] != before[:, :HALF_PX]).sum() > 2000
        assert (together[:, HALF_PX:] != before[:, HALF_PX:]).sum() > 2000
    assert receipt.faces_by_role == (FRAMES, FRAMES)
    assert (receipt.faces_replaced, receipt.frames_replaced) == (2 * FRAMES, FRAMES)
    assert receipt.provider == "CPUExecutionProvider, OpenCV"
    assert set(receipt.seconds) == {"decode", "crop", "swap", "enhance", "paste", "encode"}


def test_the_same_frames_however_cut_and_however_roles_are_numbered(scene: Scene, tmp_path: Path) -> None:
    opener = RoleOpener(lambda: scene.sessions)
    whole, _, _ = rendered(scene, scene.faces, opener.open(scene.roles), tmp_path)
    turned = replace(scene.faces, role=1 - scene.faces.role)
    parts, _, receipts = rendered(scene, turned, opener.open(scene.roles[::-1]), tmp_path, Fraction(0))
    assert len(receipts) > 1
    assert parts == whole


@pytest.mark.heavy
def test_one_swapper_for_two_people_takes_their_faces_together(scene: Scene, tmp_path: Path) -> None:
    """Both by the network, with faces of their own: what each becomes does not depend on whose faces go in with it."""
    (network, man), (_, woman) = scene.roles
    plain = replace(network, options=SwapOptions())
    other = replace(woman, vectors={name: -vector for name, vector in man.vectors.items()})
    opened = RoleOpener(lambda: scene.sessions).open([(plain, man), (plain, other)])
    assert opened[0].stages[0].model is opened[1].stages[0].model
    _, both, _ = rendered(scene, scene.faces, opened, tmp_path)
    for role in (0, 1):
        _, one, (receipt,) = rendered(scene, alone(scene.faces, role), opened, tmp_path)
        assert receipt.faces_by_role == ((FRAMES, 0), (0, FRAMES))[role]
        side = np.s_[:, :HALF_PX] if role == 0 else np.s_[:, HALF_PX:]
        assert all(np.array_equal(a[side], b[side]) for a, b in zip(both, one, strict=True))
    _, same, _ = rendered(scene, scene.faces, [opened[0]] * 2, tmp_path)
    assert all(np.array_equal(a[:, :HALF_PX], b[:, :HALF_PX]) for a, b in zip(both, same, strict=True))
    assert all((a[:, HALF_PX:] != b[:, HALF_PX:]).any() for a, b in zip(both, same, strict=True))
