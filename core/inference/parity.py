"""Parity: what a changed model computes, against the published file, one face at a time, in float32, on the CPU.

Inputs are seeded: pictures of blocks and grain in the manifest's range, vectors of norm 1 where the manifest says so.
Tolerances: float32 must be equal to 1e-5 of the output's greatest number (at least 1); float16 must reach 40 dB and
INT8 30 dB, both against the range of the reference. All three are this program's own choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from core.errors import ModelError
from core.inference.manifest import ModelManifest, PixelSpec
from core.records import Float32Array
from core.records.models import Precision

Feeds = dict[str, Float32Array]

TOLERANCE = 1e-5  # fp32: of the greatest number of the output, at least 1
LOWEST_PSNR_DB: Mapping[Precision, float] = {"fp16": 40.0, "int8": 30.0}
FREE_SIDE = 64  # px, where a model takes pictures of any size: two cells of the largest stride
BLOCK = 8  # px
FREE_ITEMS = 2  # faces of the comparison where any number will do


@dataclass(frozen=True)
class OutputParity:
    """One output: errors in its own units, `peak` the range of the reference; `psnr_db` None where nothing differs."""

    name: str
    max_error: float
    mean_error: float
    peak: float
    greatest: float
    psnr_db: float | None


@dataclass(frozen=True)
class ParityReport:
    """`items` faces at once in the changed model against one by one in the original."""

    model: str
    precision: Precision
    batch: int | None
    items: int
    outputs: tuple[OutputParity, ...]
    passed: bool

    def table(self) -> str:
        """Lines of text, one an output."""
        limit = f"{TOLERANCE:g} x the greatest number" if self.precision == "fp32" else _limit_db(self.precision)
        batch = "any" if self.batch is None else str(self.batch)
        lines = [
            f"{self.model}: batch {batch}, {self.precision}, {self.items} faces against the published file one by one",
            f"{'output':<16} {'max error':>12} {'mean error':>12} {'range':>10} {'PSNR':>9}",
        ]
        for one in self.outputs:
            psnr = "equal" if one.psnr_db is None else f"{one.psnr_db:.1f} dB"
            lines.append(f"{one.name:<16} {one.max_error:>12.3g} {one.mean_error:>12.3g} {one.peak:>10.3g} {psnr:>9}")
        lines.append(f"{'within' if self.passed else 'outside'} the tolerance ({limit})")
        return "\n".join(lines)


class OutsideTolerance(ModelError):
    """A changed model whose numbers differ too much. `report` says how much; None after travelling."""

    report: ParityReport | None = None


def require(report: ParityReport) -> None:
    """`OutsideTolerance` unless the report passed."""
    if report.passed:
        return
    worst = max(report.outputs, key=lambda one: one.max_error / max(one.peak, 1e-30))
    batch = "any" if report.batch is None else report.batch
    error = OutsideTolerance(
        f"batch {batch} in {report.precision} differs from the published file by {worst.max_error:.3g} "
        f"(range {worst.peak:.3g}) in {worst.name}",
        where=f"model {report.model}",
        hint="fp32 stays in use" if report.precision != "fp32" else "use it one face at a time: --batch 1",
    )
    error.report = report
    raise error


def compare(
    manifest: ModelManifest, original: Path, changed: Path, batch: int | None, precision: Precision
) -> tuple[ParityReport, Feeds, list[Float32Array]]:
    """The report, with the inputs [n,...] and the reference outputs it rests on. One session is open at a time."""
    items = batch or FREE_ITEMS
    got_session = open_plain(changed)
    feeds = examples(manifest, {one.name: one.shape for one in got_session.get_inputs()}, items)
    names = [spec.name for spec in manifest.outputs]
    got = [np.asarray(one, np.float32) for one in got_session.run(names, feeds)]
    del got_session
    reference = run_singly(manifest, original, feeds, names)
    outputs = []
    for name, mine, true in zip(names, got, reference, strict=True):
        if mine.size != true.size or len(mine) != items:
            raise ModelError(
                f"output {name} has shape {list(mine.shape)}, expected {list(true.shape)}", where=f"model {manifest.id}"
            )
        outputs.append(measure(name, mine, true.reshape(mine.shape)))
    passed = all(_within(one, precision) for one in outputs)
    report = ParityReport(manifest.id, precision, batch, items, tuple(outputs), passed)
    return report, feeds, [true.reshape(mine.shape) for mine, true in zip(got, reference, strict=True)]


def run_singly(
    manifest: ModelManifest, original: Path, feeds: Mapping[str, Float32Array], names: Sequence[str]
) -> list[Float32Array]:
    """What the published file computes for each item alone, stacked: [n, *shape of one]."""
    session = open_plain(original)
    types = {one.name: one.type for one in session.get_inputs()}
    numpy_types = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
    unknown = [name for name in feeds if types.get(name) not in numpy_types]
    if unknown:
        raise ModelError(f"no input of real numbers named {', '.join(unknown)}", where=f"model {manifest.id}")
    count = len(next(iter(feeds.values())))
    found: list[list[Float32Array]] = []
    for at in range(count):
        one = {name: feed[at : at + 1].astype(numpy_types[types[name]]) for name, feed in feeds.items()}
        found.append([np.asarray(output, np.float32) for output in session.run(list(names), one)])
    return [np.stack(outputs) for outputs in zip(*found, strict=True)]


def measure(name: str, mine: Float32Array, true: Float32Array) -> OutputParity:
    """The difference of two arrays of one shape. Numbers that are not finite count as an infinite error."""
    error = np.abs(mine.astype(np.float64) - true)
    if not np.isfinite(error).all():
        return OutputParity(name, float("inf"), float("inf"), float(np.ptp(true)), float(np.abs(true).max()), -100.0)
    peak, mean_square = float(np.ptp(true)), float((error**2).mean())
    psnr = None if mean_square == 0 else 10 * float(np.log10(max(peak, 1e-30) ** 2 / mean_square))
    return OutputParity(name, float(error.max()), float(error.mean()), peak, float(np.abs(true).max()), psnr)


def examples(manifest: ModelManifest, shapes: Mapping[str, Sequence[int | str | None]], items: int) -> Feeds:
    """Seeded inputs for `items` faces; `shapes` as the graph states them, the first axis being replaced."""
    random = np.random.Generator(np.random.PCG64(20))
    feeds: Feeds = {}
    for name, shape in shapes.items():
        sizes = [size if isinstance(size, int) else FREE_SIDE for size in shape[1:]]
        if len(sizes) == 3:
            feeds[name] = _picture(random, items, sizes, _pixels(manifest, name))
        elif len(sizes) == 0:
            feeds[name] = random.random(items, np.float32)
        else:
            vectors = random.standard_normal((items, *sizes), np.float32)
            unit = manifest.swap is None or manifest.swap.unit
            norms = np.linalg.norm(vectors.reshape(items, -1), axis=1).reshape(-1, *[1] * len(sizes))
            feeds[name] = vectors / norms.astype(np.float32) if unit else vectors
    return feeds


def _pixels(manifest: ModelManifest, name: str) -> PixelSpec:
    image = manifest.swap is not None and manifest.swap.identity == "image" and name == "source"
    return manifest.swap.image_pixels if image and manifest.swap is not None else manifest.pixels


def _picture(random: np.random.Generator, items: int, sizes: Sequence[int], pixels: PixelSpec) -> Float32Array:
    """Blocks of one colour under grain, float32 [items,*sizes], channels first or last."""
    last = sizes[2] == len(pixels.mean) and sizes[0] != len(pixels.mean)
    height, width = (sizes[0], sizes[1]) if last else (sizes[1], sizes[2])
    channels = sizes[2] if last else sizes[0]
    coarse = random.random((items, channels, -(-height // BLOCK), -(-width // BLOCK)), np.float32)
    values = coarse.repeat(BLOCK, 2).repeat(BLOCK, 3)[:, :, :height, :width] * np.float32(223)
    values += random.random(values.shape, np.float32) * np.float32(32)
    if channels == len(pixels.mean):
        mean = np.array(pixels.mean, np.float32)[:, None, None]
        values = (values / np.float32(pixels.scale) - mean) / np.array(pixels.std, np.float32)[:, None, None]
    made = values.astype(np.float32)
    return np.ascontiguousarray(made.transpose(0, 2, 3, 1)) if last else made


def open_plain(path: Path) -> ort.InferenceSession:
    """A session on the CPU that keeps one copy of the weights; `ModelError` when the runtime refuses the file."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises many unrelated classes, all direct children of Exception
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"ONNX Runtime refuses it: {reason}", where=path.name) from error


def _within(one: OutputParity, precision: Precision) -> bool:
    if precision == "fp32":
        return one.max_error <= TOLERANCE * max(1.0, one.greatest)
    return one.psnr_db is None or one.psnr_db >= LOWEST_PSNR_DB[precision]


def _limit_db(precision: Precision) -> str:
    return f"{LOWEST_PSNR_DB[precision]:g} dB"
