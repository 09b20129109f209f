"""The measure of a changed model, and its report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.codec import decode, encode
from core.inference.manifest import load_manifests, manifest_folder
from core.inference.parity import (
    BROKEN,
    LARGEST_ERROR,
    LOWEST_PSNR_DB,
    OutputParity,
    OutsideTolerance,
    ParityReport,
    examples,
    measure,
    require,
)
from core.inference.prepared import get_ready


def report(passed: bool, one: OutputParity) -> ParityReport:
    return ParityReport("some", "fp16", 4, 4, (one,), passed)


def test_errors_are_measured_against_the_reference() -> None:
    true = np.array([0.0, 1.0, 2.0, 4.0], np.float32)
    one = measure("y", true + np.array([0, 0.2, 0, 0], np.float32), true)
    assert one.max_error == pytest.approx(0.2)
    assert one.mean_error == pytest.approx(0.05)
    assert (one.peak, one.greatest) == (4, 4)
    assert one.psnr_db == pytest.approx(10 * np.log10(16 / 0.01))
    assert measure("y", true, true).psnr_db is None


def test_numbers_that_are_not_finite_are_errors_that_json_can_hold() -> None:
    one = measure("y", np.array([np.nan, 1], np.float32), np.zeros(2, np.float32))
    assert one.max_error == BROKEN
    whole = report(False, one)
    assert decode(encode(whole), ParityReport) == whole


def test_a_report_is_a_table_and_a_refusal() -> None:
    one = OutputParity("output", 0.25, 0.125, 1.0, 1.0, 0.01, 20.0)
    lines = report(False, one).table().splitlines()
    assert lines[0] == "some: batch 4, fp16, 4 faces against the published file one by one"
    assert lines[2].split() == ["output", "0.25", "0.125", "1", "20.0", "dB"]
    assert lines[3] == "outside the tolerance (at least 40 dB, nothing off by more than 1.56% of the range)"
    assert (
        replace(report(False, one), items=6, real=2)
        .table()
        .startswith("some: batch 4, fp16, 6 faces (2 of a film) against the published file one by one\n")
    )
    with pytest.raises(OutsideTolerance, match=r"differs from the published file by 0\.25") as caught:
        require(report(False, one))
    assert caught.value.report == report(False, one)
    require(report(True, one))


@pytest.mark.parametrize("name", ["inswapper_128", "det_10g", "xseg", "codeformer", "blendswap_256"])
def test_examples_lie_in_the_manifest_s_range(name: str) -> None:
    manifest = load_manifests(manifest_folder())[name]
    shapes = {spec.name: spec.shape for spec in manifest.inputs}
    feeds = examples(manifest, shapes, 2)
    again = examples(manifest, shapes, 2)
    for spec in manifest.inputs:
        feed = feeds[spec.name]
        assert feed.dtype == np.float32
        assert len(feed) == 2
        for want, size in zip(spec.shape[1:], feed.shape[1:], strict=True):
            assert size == want
        assert np.array_equal(feed, again[spec.name])
        if feed.ndim == 4:
            last = feed.shape[-1] == 3
            samples = feed if last else feed.transpose(0, 2, 3, 1)
            image = spec.name == "source" and manifest.swap is not None
            pixels = manifest.swap.image_pixels if image and manifest.swap else manifest.pixels
            samples = (samples * np.array(pixels.std) + np.array(pixels.mean)) * pixels.scale
            assert samples.min() > -0.01
            assert 200 < samples.max() < 255.01


@pytest.mark.parametrize(("name", "fits"), [("ghost_1_256", True), ("ghost_3_256", False)])
def test_half_floats_leave_no_spots(name: str, fits: bool, twins: Path, tmp_path: Path) -> None:
    """The mean error of both is small enough; in the larger twin a pixel is off by a fifth of the range."""
    manifest = load_manifests(manifest_folder())[name]
    for file in twins.glob(f"{name}[.-]*"):
        (tmp_path / file.name).symlink_to(file)
    said: list[str] = []
    ready = get_ready(manifest, tmp_path, None, "fp16", lambda _: None, said.append)
    assert ready.precision == ("fp16" if fits else "fp32")
    (kept,) = (tmp_path / "prepared").glob("*fp16*.json")
    if fits:
        assert said == []
        assert ready.parity is not None
        assert ready.parity.outputs[0].max_error <= LARGEST_ERROR * ready.parity.outputs[0].peak
    else:
        assert len(said) == 1
        assert said[0].startswith(f"model {name}: batch any in fp16 differs from the published file by ")
        assert said[0].endswith("; fp32 is used")
        (one,) = decode(kept.read_bytes(), ParityReport).outputs
        assert one.psnr_db is not None
        assert one.psnr_db > LOWEST_PSNR_DB["fp16"]
