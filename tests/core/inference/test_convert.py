"""Converted models against the programs they come from, and files that are something else.

The expected numbers were computed once by the original runtimes on the same pixels: the mesh by the TFLite
interpreter (LiteRT 2.3.0) and the embedding by dlib 20.0.1 from its own file.
"""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import ModelError
from core.inference.convert_dlib import convert_dlib
from core.inference.convert_onnx import convert_centerface
from core.inference.convert_tflite import convert_face_landmark
from core.inference.sessions import CPU
from tests.faces_assets import astronaut, session_of

MESH = {
    1: (94.134, 108.965, -24.735),
    33: (61.371, 79.025, 4.114),
    263: (129.14, 82.421, 5.528),
    61: (69.989, 120.23, 7.047),
    291: (118.634, 121.908, 7.917),
    152: (93.031, 159.119, 8.053),
    10: (96.871, 41.888, -11.407),
}
PRESENCE = 43.0953
EMBEDDING = (-0.04711, 0.04044, -0.0133, 0.06018, -0.13284, 0.01424, -0.01178, -0.10955)
EMBEDDING_NORM = 1.446894


def test_mesh_gives_what_tflite_gives() -> None:
    session = session_of("mesh")
    assert session.provider == CPU
    crop = astronaut()[20:212, 129:321].astype(np.float32)[None] / np.float32(255)
    mesh, presence = session.run({"image": crop})
    for point, expected in MESH.items():
        np.testing.assert_allclose(mesh[0, point], expected, atol=1e-3)
    assert presence[0, 0] == pytest.approx(PRESENCE, abs=1e-3)
    three = np.concatenate([crop, np.zeros_like(crop), crop])
    np.testing.assert_allclose(session.run({"image": three})[0][2], mesh[0], atol=1e-4)


def test_embedding_gives_what_dlib_gives() -> None:
    session = session_of("embedder")
    chip = astronaut()[42:192, 150:300].astype(np.float32).transpose(2, 0, 1)[None]
    (embedding,) = session.run({"image": chip})
    np.testing.assert_allclose(embedding[0, :8], EMBEDDING, atol=2e-5)
    assert float(np.linalg.norm(embedding)) == pytest.approx(EMBEDDING_NORM, abs=1e-5)


def test_detector_takes_any_batch_and_size() -> None:
    session = session_of("detector")
    for batch, height, width in ((1, 32, 64), (3, 96, 32)):
        outputs = session.run({"input.1": np.zeros((batch, 3, height, width), np.float32)})
        assert [output.shape[1] for output in outputs] == [1, 2, 2, 10]
        assert {(output.shape[0], *output.shape[2:]) for output in outputs} == {(batch, height // 4, width // 4)}
    with pytest.raises(ModelError, match="model centerface"):
        session.run({"input.1": np.zeros((1, 4, 32, 32), np.float32)})


@pytest.mark.parametrize("convert", [convert_centerface, convert_dlib, convert_face_landmark])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 64,
        b"\x05con_4\x01\x02\x02\x80\x12\x01\x01\x01\x01\x01\x01" + b"\x00" * 100,
        b"\x18\x00\x00\x00TFL3" + b"\x00" * 40,
        b"\xff" * 200,
    ],
)
def test_other_files_are_refused_in_one_line(convert: object, data: bytes) -> None:
    with pytest.raises(ModelError) as caught:
        convert(data)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
