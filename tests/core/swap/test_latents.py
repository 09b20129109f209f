"""Identity vectors as each family of swappers wants them, on twins; vectors of made-up faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import ModelError
from core.inference.manifest import ModelManifest, load_manifests, manifest_folder
from core.inference.providers import DeviceSpec
from core.inference.sessions import Session, Sessions
from core.records import Float32Array
from core.swap.latents import Latents, mapped, unit

RANDOM = np.random.default_rng(5)
VECTORS = np.asarray(RANDOM.normal(size=(3, 512)) * 20, np.float32)


@pytest.fixture(scope="module")
def sessions(twins: Path) -> Sessions:
    return Sessions(twins, DeviceSpec(wish="cpu"))


def manifest_called(name: str) -> ModelManifest:
    return load_manifests(manifest_folder())[name]


def latents_of(name: str, sessions: Sessions) -> Latents:
    manifest = manifest_called(name)
    assert manifest.swap is not None
    converter = manifest.swap.converter
    return Latents(manifest, sessions.open(manifest), sessions.open(manifest_called(converter)) if converter else None)


def norms(vectors: Float32Array) -> Float32Array:
    return np.asarray(np.linalg.norm(vectors, axis=1), np.float32)


def test_emap_is_insightface_s_convention(sessions: Sessions) -> None:
    """The unit vector times emap, then divided by its own norm; the vector's length does not matter."""
    emap = sessions.open(manifest_called("inswapper_128")).arrays["emap"]
    latents = latents_of("inswapper_128", sessions)
    made = latents.of(VECTORS)
    for vector, latent in zip(VECTORS.astype(np.float64), made, strict=True):
        mapped = (vector / np.linalg.norm(vector)) @ emap.astype(np.float64)
        assert np.allclose(latent, mapped / np.linalg.norm(mapped), atol=1e-6)
    assert made.dtype == np.float32
    assert np.allclose(latents.of(VECTORS * 3), made, atol=1e-6)
    assert not np.allclose(made, unit(VECTORS), atol=1e-2)


def test_the_vector_itself(sessions: Sessions) -> None:
    assert np.allclose(latents_of("hyperswap_1a_256", sessions).of(VECTORS), unit(VECTORS), atol=1e-7)


@pytest.mark.parametrize(
    ("name", "length_one"), [("ghost_1_256", False), ("simswap_256", True), ("hififace_256", True)]
)
def test_converted(name: str, length_one: bool, sessions: Sessions) -> None:
    """The converter sees the vector as the recogniser gives it; its answer is normalised where the manifest says so."""
    converter = sessions.open(manifest_called(f"crossface_{name.split('_', maxsplit=1)[0]}"))
    raw = np.concatenate([converter.run({"input": VECTORS[row : row + 1]})[0] for row in range(3)])
    made = latents_of(name, sessions).of(VECTORS)
    assert np.allclose(made, unit(raw) if length_one else raw, atol=1e-5)
    assert np.allclose(norms(made), 1, atol=1e-5) == length_one


@pytest.mark.parametrize("name", ["inswapper_128", "ghost_1_256"])
def test_strength_mixes_latents(name: str, sessions: Sessions) -> None:
    """Half of two latents lies as near to one as to the other; the ends are the latents themselves."""
    latents = latents_of(name, sessions)
    own, wanted = latents.of(VECTORS[:2]), latents.of(VECTORS[2:])[0]
    assert np.allclose(latents.mixed(own, wanted, 1.0), np.stack([wanted, wanted]), atol=1e-6)
    assert np.allclose(latents.mixed(own, wanted, 0.0), own, atol=1e-6)
    half = latents.mixed(own, wanted, 0.5)
    for row in range(2):
        middle = own[row] + wanted
        assert np.allclose(unit(half[row]), unit(middle), atol=1e-6)
    assert np.allclose(norms(half), 1, atol=1e-6) == (name == "inswapper_128")


def test_no_vectors(sessions: Sessions) -> None:
    assert latents_of("inswapper_128", sessions).of(VECTORS[:0]).shape == (0, 512)
    assert latents_of("ghost_1_256", sessions).of(VECTORS[:0]).shape == (0, 512)


@pytest.mark.parametrize("name", ["inswapper_128", "ghost_1_256", "hyperswap_1a_256"])
def test_vectors_of_another_recogniser(name: str, sessions: Sessions) -> None:
    with pytest.raises(ModelError, match="identity vectors of 128 numbers where 512 are expected; use the recogniser"):
        latents_of(name, sessions).of(VECTORS[:, :128])


def test_what_is_missing(sessions: Sessions) -> None:
    inswapper, ghost = manifest_called("inswapper_128"), manifest_called("ghost_1_256")
    opened = sessions.open(ghost)
    assert isinstance(opened, Session)
    with pytest.raises(ModelError, match="no identity matrix emap"):
        Latents(inswapper, opened, None)
    with pytest.raises(ModelError, match="no model that converts identities"):
        Latents(ghost, opened, None)
    with pytest.raises(ModelError, match=r"no table \[swap\]"):
        Latents(manifest_called("w600k_r50"), opened, None)


def test_a_vector_of_zeros_has_no_direction() -> None:
    assert np.array_equal(unit(np.zeros((1, 4), np.float32)), np.zeros((1, 4), np.float32))


def test_a_latent_does_not_depend_on_the_others_of_its_batch() -> None:
    random = np.random.default_rng(5)
    vectors, matrix = (random.standard_normal(shape).astype(np.float32) for shape in ((7, 512), (512, 512)))
    whole = mapped(vectors, matrix)
    assert np.array_equal(np.concatenate([mapped(vectors[i : i + 1], matrix) for i in range(7)]), whole)
    assert np.allclose(whole, vectors.astype(np.float64) @ matrix, atol=1e-4)
    assert mapped(vectors[:0], matrix).shape == (0, 512)
