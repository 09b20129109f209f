"""The source face: which one of an image is meant, and images that will not do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from core.errors import InputError
from core.faces.align import cut, shrink
from core.faces.analyse import FaceModels
from core.faces.embed import Recogniser, distance
from core.faces.finds import distinct
from core.faces.identity import BEST_FACES, CROP_MAX_PX, load_identity
from core.faces.portrait import turn_deg
from core.geometry import square_crop
from core.records import EYE_OUTER, SourceIdentity, SourceSpec
from tests.core.faces.twin_models import open_twin
from tests.faces_assets import astronaut, carphone_clip, session_of, shape_of_dots
from tests.media_clips import ffmpeg


def load(models: FaceModels, path: Path, face: int | None = None, more: Sequence[Path] = ()) -> SourceIdentity:
    return load_identity(SourceSpec(str(path), face, tuple(str(other) for other in more)), models)


def save(folder: Path, picture: NDArray[np.uint8], name: str = "face.png") -> Path:
    Image.fromarray(picture).save(folder / name)
    return folder / name


def side_by_side(left: int, right: int) -> NDArray[np.uint8]:
    """Two astronauts of the given heights in pixels."""
    picture = np.zeros((max(left, right), left + right, 3), np.uint8)
    picture[:left, :left] = shrink(astronaut(), left, left)
    picture[:right, left:] = shrink(np.ascontiguousarray(astronaut()[:, ::-1]), right, right)
    return picture


def test_one_face_is_cut_out_level_with_its_mesh(models: FaceModels, tmp_path: Path) -> None:
    made = load(models, save(tmp_path, astronaut()))
    size = made.image.shape[0]
    assert made.image.shape == (size, size, 3)
    assert 200 < size < 300
    assert made.face == 1
    assert made.notes == ()
    assert 0.25 * size < made.mesh.min()
    assert made.mesh.max() < 0.75 * size
    left, right = made.mesh[list(EYE_OUTER)]
    assert abs(left[1] - right[1]) < 0.5
    assert made.id.startswith(made.sha256[:16])


def profile() -> NDArray[np.uint8]:
    """scikit-image's cameraman, seen from the side."""
    return np.repeat(np.asarray(skimage.data.camera(), np.uint8)[..., None], 3, axis=2)


def variant(kind: str) -> NDArray[np.uint8]:
    """The astronaut in other pictures."""
    picture = astronaut()
    return {
        "mirrored": lambda: np.ascontiguousarray(picture[:, ::-1]),
        "dark": lambda: (picture * 0.6).astype(np.uint8),
        "small": lambda: shrink(picture, 300, 300),
        "tiny": lambda: shrink(picture, 160, 160),
        "blurred": lambda: np.asarray(cv2.GaussianBlur(picture, (0, 0), 3), np.uint8),
    }[kind]()


def test_several_images_give_the_mean_of_their_vectors(models: FaceModels, twins: Path, tmp_path: Path) -> None:
    recogniser = Recogniser(open_twin("w600k_r50", twins).session)
    main = save(tmp_path, astronaut())
    more = [save(tmp_path, variant(kind), f"{kind}.png") for kind in ("mirrored", "dark", "small")]
    spec = SourceSpec(str(main), None, tuple(map(str, more)))
    made = load_identity(spec, models, [recogniser])
    singles = [load_identity(SourceSpec(str(path)), models, [recogniser]) for path in (main, *more)]
    assert made.notes == ("the source's identity is the mean of 4 of 4 pictures that show the face",)
    np.testing.assert_array_equal(made.image, singles[0].image)
    np.testing.assert_array_equal(made.mesh, singles[0].mesh)
    np.testing.assert_allclose(made.embedding, np.mean([one.embedding for one in singles], axis=0), atol=1e-6)
    vectors = np.stack([one.vectors["w600k_r50"] for one in singles])
    np.testing.assert_allclose(made.vectors["w600k_r50"], recogniser.mean(vectors), rtol=1e-5, atol=1e-4)
    assert len({one.id for one in (made, *singles)}) == 5
    other_order = load_identity(SourceSpec(str(main), None, tuple(map(str, reversed(more)))), models, [recogniser])
    assert other_order.id == made.id
    np.testing.assert_allclose(other_order.vectors["w600k_r50"], made.vectors["w600k_r50"], rtol=1e-5, atol=1e-4)


def test_points_lie_on_the_mesh(models: FaceModels, tmp_path: Path) -> None:
    made = load(models, save(tmp_path, astronaut()))
    left, right = made.mesh[list(EYE_OUTER)]
    for point, eye in zip(made.points[:2], (left, right), strict=True):
        assert np.linalg.norm(point - eye) < 0.3 * np.linalg.norm(right - left)
    assert made.points[:2, 1].max() < made.points[2, 1] < made.points[3:, 1].min()


def test_pictures_that_do_not_fit_are_left_out_with_a_line(
    models: FaceModels, tmp_path: Path, carphone_frames: list[NDArray[np.uint8]]
) -> None:
    main = save(tmp_path, astronaut())
    two = save(tmp_path, two_people(carphone_frames[0]), "two.png")  # she is one of them
    more = [
        save(tmp_path, carphone_frames[0], "driver.png"),
        two,
        save(tmp_path, variant("tiny"), "tiny.png"),
        save(tmp_path, np.asarray(skimage.data.coffee(), np.uint8), "coffee.png"),
    ]
    made = load(models, main, more=more)
    driver, tiny, coffee, mean = made.notes
    assert f"{more[0]} is left out: another person than in {main}, distance 0." in driver
    assert f"{more[2]} is left out: the face is " in tiny
    assert coffee == f"{more[3]} is left out: no face found"
    assert mean.endswith("the mean of 2 of 2 pictures that show the face")
    assert distance(made.embedding, load(models, main).embedding) < 0.3
    for path, message in ((tmp_path / "absent.png", "no such file"), (tmp_path / "text.txt", "neither an image nor")):
        (tmp_path / "text.txt").write_text("not a picture")
        with pytest.raises(InputError, match=message) as caught:
            load(models, main, more=[path])
        assert str(path) in str(caught.value)


def test_only_the_best_of_many_are_averaged(models: FaceModels, tmp_path: Path) -> None:
    more = [save(tmp_path, variant("blurred"), f"{number}.png") for number in range(3)]
    more += [save(tmp_path, astronaut(), f"{number}.png") for number in range(3, BEST_FACES + 2)]
    made = load(models, save(tmp_path, astronaut()), more=more)
    assert made.notes[-1] == f"the source's identity is the mean of {BEST_FACES} of {len(more) + 1} pictures " + (
        "that show the face"
    )
    assert distance(made.embedding, load(models, tmp_path / "face.png").embedding) < 1e-5


@pytest.fixture(scope="module")
def of_film(models: FaceModels, carphone_film: Path) -> SourceIdentity:
    return load(models, carphone_film)


def test_a_film_is_a_source(
    models: FaceModels, carphone_film: Path, of_film: SourceIdentity, carphone_frames: list[NDArray[np.uint8]]
) -> None:
    made = of_film
    assert made.notes == (f"the source's identity is the mean of {BEST_FACES} of 24 pictures that show the face",)
    (found,) = models.detector.detect([carphone_frames[3]])
    still = models.embedder.embed([models.embedder.chip(carphone_frames[3], found.points[0])])[0]
    assert distance(made.embedding, still) < 0.4
    assert made.face == 1
    assert made.image.shape[0] > 200
    with pytest.raises(InputError, match="a face's number goes with an image, not a film"):
        load(models, carphone_film, face=1)


def test_a_film_on_its_side_is_seen_upright(models: FaceModels, of_film: SourceIdentity, clips: Path) -> None:
    lying = carphone_clip(clips, frames=12, filters="transpose=clock")
    turned = clips / "source-turned.mp4"
    ffmpeg("-display_rotation", "90", "-i", lying, "-c", "copy", turned)
    made = load(models, turned)
    assert distance(made.embedding, of_film.embedding) < 0.35
    assert made.mesh[EYE_OUTER[0], 1] < made.points[3:, 1].min()


def test_films_may_join_an_image_of_the_same_person(
    models: FaceModels, clips: Path, carphone_frames: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    film = carphone_clip(clips, frames=9)
    made = load(models, save(tmp_path, carphone_frames[0]), more=[film])
    assert made.notes == (f"the source's identity is the mean of {BEST_FACES} of 10 pictures that show the face",)
    other = load(models, save(tmp_path, astronaut(), "astronaut.png"), more=[film])
    assert len(other.notes) == 1
    assert f"{film} is left out: another person" in other.notes[0]


def test_who_is_in_most_frames_is_the_source(
    models: FaceModels, carphone_frames: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    high, wide = carphone_frames[0].shape[:2]
    for number in range(7):
        frame = astronaut()[:high, :wide] if number in {1, 2} else carphone_frames[number % len(carphone_frames)]
        save(tmp_path, frame, f"{number}.png")
    ffmpeg("-i", tmp_path / "%d.png", "-c:v", "libx264", "-pix_fmt", "yuv420p", tmp_path / "two.mp4")
    made = load(models, tmp_path / "two.mp4")
    assert made.notes[0] == f"{tmp_path / 'two.mp4'}: 2 frames show another person"
    assert distance(made.embedding, load(models, tmp_path / "0.png").embedding) < 0.3


def test_a_film_without_a_face_is_refused(models: FaceModels, clips: Path) -> None:
    path = clips / "bars.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=320x240:rate=10:duration=1", "-c:v", "libx264", path)
    with pytest.raises(InputError, match="none of 10 frames shows one face clearly"):
        load(models, path)


def test_turns_are_read_off_the_mesh(models: FaceModels) -> None:
    """Meshes of real faces with depth, turned in space; about, as faces differ in depth."""
    (found,) = models.detector.detect([astronaut()])
    mesh, _ = models.mesher.mesh([astronaut()], found.box[:1], found.points[:1])
    low, high = mesh[0].min(axis=0), mesh[0].max(axis=0)
    crop = square_crop((low + high) / 2, 1.5 * float((high - low).max()), 0.0, 192)
    image = cut(astronaut(), crop, 192).astype(np.float32)[None] / np.float32(255)
    solid = session_of("mesh").run({"image": image})[0][0].astype(np.float64)
    for degrees in (-50, -30, -10, 10, 30, 50):
        angle = np.radians(degrees)
        seen = solid[:, [0]] * np.cos(angle) + solid[:, [2]] * np.sin(angle)
        turned = np.concatenate([seen, solid[:, [1]]], axis=1).astype(np.float32)
        assert abs(turn_deg(turned) - abs(degrees)) < 6


def test_one_face_found_twice_counts_once() -> None:
    """The mesh of the second find covers the first's; the third lies beside them, the fourth in another frame."""
    shape = shape_of_dots().astype(np.float32) * 50
    mesh = np.stack([shape, shape * np.float32(1.1), shape + np.float32(90), shape])
    score = np.array([0.6, 0.9, 0.5, 0.4], np.float32)
    assert distinct(mesh, score, np.array([0, 0, 0, 1])).tolist() == [1, 2, 3]
    assert distinct(mesh[:0], score[:0], np.zeros(0, np.int64)).tolist() == []


def test_exif_orientation_is_applied(models: FaceModels, tmp_path: Path) -> None:
    upright = load(models, save(tmp_path, astronaut()))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    path = tmp_path / "turned.png"
    Image.fromarray(np.rot90(astronaut())).save(path, exif=exif)
    assert distance(load(models, path).embedding, upright.embedding) < 0.01


def test_clearly_largest_face_is_taken_and_said(models: FaceModels, tmp_path: Path) -> None:
    made = load(models, save(tmp_path, side_by_side(300, 512)))
    assert made.face == 2
    assert made.notes == ("2 faces in the source image: took the largest, number 2 from the left",)
    other = load(models, tmp_path / "face.png", face=1)
    assert other.face == 1
    assert other.notes == ()
    assert other.id != made.id
    assert other.image.shape[0] < made.image.shape[0]


def test_faces_that_fill_the_picture_are_found(models: FaceModels, tmp_path: Path) -> None:
    close = np.asarray(Image.fromarray(astronaut()[50:185, 165:285]).resize((960, 1080)), np.uint8)
    assert load(models, save(tmp_path, close)).image.shape[0] == CROP_MAX_PX


def two_people(driver: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The driver and the astronaut, their faces about equally large."""
    astronauts = np.asarray(Image.fromarray(astronaut()).resize((640, 640)), np.uint8)
    picture = np.zeros((640, 640 + driver.shape[1], 3), np.uint8)
    picture[: len(driver), : driver.shape[1]] = driver
    picture[:, driver.shape[1] :] = astronauts
    return picture


def test_images_that_will_not_do(models: FaceModels, tmp_path: Path, carphone_frames: list[NDArray[np.uint8]]) -> None:
    two = save(tmp_path, two_people(carphone_frames[0]), "two.png")
    twice = save(tmp_path, side_by_side(480, 512), "twice.png")
    cases = [
        (save(tmp_path, np.asarray(skimage.data.coffee(), np.uint8), "none.png"), None, "no face found"),
        (
            two,
            None,
            "2 faces in the source image, none clearly the largest; crop it to one, or give --source-face 1 to 2",
        ),
        (twice, None, "the same face is in the source image twice; crop it to one, or give --source-face 1 to 2"),
        (save(tmp_path, profile(), "profile.png"), None, "turned away by about 4. degrees, .* from the front"),
        (two, 3, "there is no face 3"),
        (two, 0, "there is no face 0"),
        (save(tmp_path, shrink(astronaut(), 160, 160), "small.png"), None, "px high, at least 48 are needed"),
        (tmp_path / "absent.png", None, "no such file"),
        (tmp_path, None, "directory"),
    ]
    (tmp_path / "text.jpg").write_text("not a picture")
    cases.append((tmp_path / "text.jpg", None, "text.jpg"))
    (tmp_path / "torn.png").write_bytes(two.read_bytes()[:5000])
    cases.append((tmp_path / "torn.png", None, "torn.png"))
    for path, face, message in cases:
        with pytest.raises(InputError, match=message) as caught:
            load(models, path, face)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
