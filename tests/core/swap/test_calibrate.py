"""Calibration inputs out of a real clip: shapes, ranges, and faces that are faces."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from core.errors import InputError, ModelError
from core.faces.embed import cosine
from core.inference.manifest import load_manifests, manifest_folder
from core.inference.pixels import colours_of
from core.inference.providers import DeviceSpec
from core.inference.sessions import Sessions
from core.inference.weights import model_file
from core.swap.calibrate import calibration_inputs
from tests.faces_assets import carphone, model_cache


@pytest.fixture
def sessions(twins: Path) -> Sessions:
    return Sessions(twins, DeviceSpec(wish="cpu"))


@pytest.mark.parametrize(
    "name", ["inswapper_128", "simswap_256", "blendswap_256", "codeformer", "xseg", "det_10g", "crossface_ghost"]
)
def test_every_kind_of_input_is_made(name: str, sessions: Sessions) -> None:
    manifest = load_manifests(manifest_folder())[name]
    found = calibration_inputs(carphone(), manifest, sessions)
    assert len(found) >= 20
    for feeds in found:
        assert list(feeds) == [spec.name for spec in manifest.inputs]
        for spec in manifest.inputs:
            assert feeds[spec.name].shape == (1, *spec.shape[1:])
            assert feeds[spec.name].dtype == np.float32


def test_crops_show_the_face_where_the_template_says(sessions: Sessions) -> None:
    manifest = load_manifests(manifest_folder())["inswapper_128"]
    found = calibration_inputs(carphone(), manifest, sessions)
    crop = colours_of(found[0]["target"], manifest.pixels)[0].transpose(1, 2, 0)
    assert crop.min() >= 0
    assert crop.max() <= 1
    # The eyes are darker than the cheeks below them.
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    for eye in ((46, 52), (82, 52)):
        x, y = eye
        assert grey[y - 4 : y + 5, x - 6 : x + 7].mean() < grey[y + 18 : y + 27, x - 6 : x + 7].mean()


def test_latents_are_of_the_face_itself(sessions: Sessions) -> None:
    manifest = load_manifests(manifest_folder())["inswapper_128"]
    latents = [feeds["source"][0] for feeds in calibration_inputs(carphone(), manifest, sessions)]
    assert np.allclose(np.linalg.norm(latents, axis=1), 1, atol=1e-5)
    assert all(cosine(latents[0], one) > 0.5 for one in latents)


def test_a_film_without_faces_is_refused(sessions: Sessions, tmp_path: Path) -> None:
    picture = tmp_path / "grey.png"
    cv2.imwrite(str(picture), np.full((96, 96, 3), 128, np.uint8))
    manifest = load_manifests(manifest_folder())["inswapper_128"]
    with pytest.raises(InputError, match="no face found to calibrate with; name a film with faces in it"):
        calibration_inputs(picture, manifest, sessions)


def test_a_missing_recogniser_is_named(twins: Path, tmp_path: Path) -> None:
    manifests = load_manifests(manifest_folder())
    for manifest in manifests.values():
        if manifest.embedded:
            model_file(manifest, tmp_path).symlink_to(model_file(manifest, model_cache()))
    with pytest.raises(ModelError, match="w600k_r50 is not in the cache"):
        calibration_inputs(carphone(), manifests["inswapper_128"], Sessions(tmp_path, DeviceSpec(wish="cpu")))
