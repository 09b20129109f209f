"""Blends: exact where the mask is 0, the right function inside, no seam."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.records import Float32Array, PasteKind
from core.swap.blend import BLENDS, feather, harmonic, multiband, poisson
from tests.frames import disc

KINDS: tuple[PasteKind, ...] = ("feather", "poisson", "multiband")


def field(shape: tuple[int, int], seed: int, cells: int = 6) -> Float32Array:
    """A smooth random field with values in 40..200."""
    raw = np.random.default_rng(seed).random((cells, cells)).astype(np.float32)
    return np.asarray(40 + 160 * np.clip(cv2.resize(raw, shape[::-1], interpolation=cv2.INTER_CUBIC), 0, 1))


def texture(shape: tuple[int, int], seed: int) -> Float32Array:
    return np.random.default_rng(seed).normal(0, 6, shape).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    high=st.integers(1, 90),
    wide=st.integers(1, 90),
    seed=st.integers(0, 999),
    soft=st.booleans(),
)
def test_exact_outside_and_finite_inside(kind: PasteKind, high: int, wide: int, seed: int, soft: bool) -> None:
    random = np.random.default_rng(seed)
    old, fresh, weight = (random.random((high, wide)).astype(np.float32) * 255 for _ in range(3))
    weight = np.clip(weight / 255 * 2 - 0.8, 0, 1) if soft else np.asarray(weight > 128, np.float32)
    made = BLENDS[kind](old, fresh, weight)
    assert made.dtype == np.float32
    assert np.array_equal(made[weight == 0], old[weight == 0])
    assert np.isfinite(made).all()
    assert np.abs(made).max() < 1200


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(64, 64), (61, 97), (5, 40), (1, 1)])
def test_the_same_picture_stays(kind: PasteKind, shape: tuple[int, int]) -> None:
    old = field(shape, 1)
    weight = cv2.resize(disc(64), shape[::-1])
    assert np.abs(BLENDS[kind](old, old.copy(), weight) - old).max() < 1e-3


@pytest.mark.parametrize("edge", [0.02, 0.1, 0.14])
def test_another_shade_meets_the_old_one_without_a_seam(edge: float) -> None:
    """A face 40 codes darker than its place: Poisson leaves no step, multi-band about what the feather leaves."""
    old = field((96, 96), 2, 3)
    weight = disc(96, 0.46 - edge, edge)
    step = {kind: np.abs(np.diff(BLENDS[kind](old, old - 40, weight) - old, axis=1)).max() for kind in KINDS}
    assert step["poisson"] < 1
    assert step["multiband"] < 2.2 * step["feather"]


def test_poisson_takes_the_shade_of_the_place_and_keeps_detail() -> None:
    """Shifted in brightness, the pasted face comes out as if it had not been."""
    shape = (128, 128)
    old = field(shape, 3, 3)
    detail = texture(shape, 4)
    weight = disc(128, 0.35, 0.05)
    made = poisson(old, old + detail + 55, weight)
    inside = weight == 1
    assert np.corrcoef((made - old)[inside], detail[inside])[0, 1] > 0.95
    assert abs(float((made - old)[inside].mean())) < 3


@pytest.mark.parametrize("size", [20, 27])
def test_the_solution_is_that_of_the_equations(size: int) -> None:
    """Against the dense linear system of the same square with values known on its rim and on a bar inside."""
    random = np.random.default_rng(size)
    values = np.cumsum(random.normal(0, 10, (size, size)), axis=1).astype(np.float32)
    known = np.zeros((size, size), bool)
    known[[0, -1]] = known[:, [0, -1]] = True
    known[size // 2, 5:9] = True
    count = size * size
    system, right = np.eye(count), values.ravel().astype(np.float64)
    for row in np.flatnonzero(~known.ravel()):
        system[row, [row - 1, row + 1, row - size, row + size]] = -0.25
        right[row] = 0
    exact = np.linalg.solve(system, right).reshape(size, size)
    found = harmonic(values, known)
    assert np.array_equal(found[known], values[known])
    assert np.abs(found - exact).max() < 0.03 * np.ptp(values)
    assert np.abs(found - exact).mean() < 0.005 * np.ptp(values)


def test_a_large_solution_is_harmonic() -> None:
    """x*x - y*y is harmonic: from a ring of its values the whole of it comes back."""
    side = 300
    y, x = (np.mgrid[0:side, 0:side] - side / 2) / 10
    values = np.asarray(x * x - y * y, np.float32)
    known = np.abs(np.hypot(x, y) * 10 - 130) < 1.5
    found = harmonic(values, known)
    inside = np.hypot(x, y) * 10 < 128
    assert np.abs(found - values)[inside].max() < 0.035 * np.ptp(values[inside])


def test_poisson_without_a_seam_is_a_mixture() -> None:
    old, fresh = field((30, 30), 5), field((30, 30), 6)
    for value in (1.0, 0.4):
        weight = np.full((30, 30), value, np.float32)
        assert np.array_equal(poisson(old, fresh, weight), feather(old, fresh, weight))


def test_multiband_keeps_fine_structure_up_to_the_edge() -> None:
    """New texture reaches the seam whole, while a difference of shade has faded there."""
    shape = (128, 128)
    old = np.full(shape, 100, np.float32)
    detail = texture(shape, 7)
    y, x = np.mgrid[0:128, 0:128] - 63.5
    radius = np.hypot(x, y)
    weight = np.asarray(np.clip((52 - radius) / 16, 0, 1), np.float32)  # 1 to 36, a half at 44, 0 from 52
    near = (radius > 38) & (radius < 42)
    fine = (multiband(old, old + detail, weight) - old)[near]
    assert fine.std() > 0.8 * detail[near].std()
    assert (feather(old, old + detail, weight) - old)[near].std() < 0.85 * detail[near].std()
    shade = (multiband(old, old + 40, weight) - old)[radius < 4].mean()
    assert shade > 25
    assert abs((multiband(old, old + 40, weight) - old)[near].mean()) < 30
