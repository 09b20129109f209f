"""Parity: what a changed model computes, against the published file, one face at a time, in float32, on the CPU.

Inputs are seeded: pictures of blocks and grain in the manifest's range, vectors of norm 1 where the manifest says so;
and crops of a film's faces where one is given. Tolerances, this program's own choice: float32 must be equal to 1e-5 of
the output's greatest number (at least 1); float16 must reach 40 dB and INT8 30 dB, both against the range of the
reference. Where the published file itself is in float16, so is the tolerance.

PSNR is a mean, in which a spot of a few pixels drowns: a twin of GHOST 3 reaches 55 dB with a pixel that is off by 19 %
of the range. So in float16 no number may be off by more than 1/64 of the range, 4 of 255 steps. That is 1.6 %, within
the 1 to 2 % of a luminance that the eye tells apart where areas meet (Weber's fraction in daylight; of single pixels
it needs more). On the twins, seeded inputs and real faces alike, networks that half floats suit stay below 0.9 % of the
range, 4 to 19 times their mean error; in the others (GHOST 2 and 3, BlendSwap, CodeFormer, RestoreFormer++) single
numbers are off by 2 to 37 %. The limit lies between.

Some networks answer to the last bit of their inputs with more than 1e-5. For these the limit is 4 times the rounding
noise of the published file (root mean square): how far it is from itself, with inputs moved by one unit in the last
place and the runtime's own optimisations switched off; and no number may be off by more than 1e-3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime as ort

from core.errors import ModelError
from core.inference.manifest import ModelManifest, PixelSpec
from core.inference.onnxfile import match_outputs
from core.inference.runtime import open_plain
from core.records import Float32Array
from core.records.models import Precision

Feeds = dict[str, Float32Array]

TOLERANCE = 1e-5  # fp32: of the greatest number of the output, at least 1
LARGEST_ERROR = 1 / 64  # fp16: of the range of the output, for any one number
LOWEST_PSNR_DB: Mapping[Precision, float] = {"fp16": 40.0, "int8": 30.0}
BROKEN = 1e30  # stands for an infinite error, which JSON cannot hold
NOISE_FACTOR = 4
NOISY_TOLERANCE = 1e-3  # fp32, where rounding alone passes 1e-5
FREE_SIDE = 64  # px, where a model takes pictures of any size: two cells of the largest stride
BLOCK = 8  # px
FREE_ITEMS = 2  # seeded faces of the comparison where any number will do
FREE_CALL = 4  # faces of one call where any number will do


@dataclass(frozen=True)
class OutputParity:
    """One output: errors in its own units, `peak` the range of the reference, `greatest` its greatest absolute number.

    `psnr_db` is None where nothing differs; `mean_square` is the mean of squared errors, `noise` that of rounding
    (0 where it was not needed).
    """

    name: str
    max_error: float
    mean_error: float
    peak: float
    greatest: float
    mean_square: float
    psnr_db: float | None
    noise: float = 0.0


@dataclass(frozen=True)
class ParityReport:
    """`items` faces in batches in the changed model against one by one in the original, the last `real` of them out of
    a film. `half`: the original is in float16."""

    model: str
    precision: Precision
    batch: int | None
    items: int
    outputs: tuple[OutputParity, ...]
    passed: bool
    half: bool = False
    real: int = 0

    def table(self) -> str:
        """Lines of text, one an output."""
        limit = _limit(_tolerance(self.precision, self.half), max(one.noise for one in self.outputs))
        batch = "any" if self.batch is None else str(self.batch)
        origin = f"({self.real} of a film) " if self.real else ""
        lines = [
            f"{self.model}: batch {batch}, {self.precision}, {self.items} faces {origin}against the published file "
            "one by one",
            f"{'output':<16} {'max error':>12} {'mean error':>12} {'range':>10} {'PSNR':>9}",
        ]
        for one in self.outputs:
            psnr = "equal" if one.psnr_db is None else f"{one.psnr_db:.1f} dB"
            lines.append(f"{one.name:<16} {one.max_error:>12.3g} {one.mean_error:>12.3g} {one.peak:>10.3g} {psnr:>9}")
        lines.append(f"{'within' if self.passed else 'outside'} the tolerance ({limit})")
        return "\n".join(lines)

    def text(self) -> str:
        """The worst output in a few words."""
        worst = max(self.outputs, key=lambda one: one.max_error / max(one.peak, 1e-30))
        psnr = "" if worst.psnr_db is None else f", {worst.psnr_db:.0f} dB"
        return f"at most {worst.max_error:.2g} off the published file{psnr}"


class OutsideTolerance(ModelError):
    """A changed model whose numbers differ too much. `report` says how much; None after travelling."""

    report: ParityReport | None = None


def require(report: ParityReport) -> None:
    """`OutsideTolerance` unless the report passed."""
    if report.passed:
        return
    worst = max(report.outputs, key=lambda one: one.max_error / max(one.peak, 1e-30))
    batch = "any" if report.batch is None else report.batch
    psnr = "" if worst.psnr_db is None else f", {worst.psnr_db:.1f} dB"
    error = OutsideTolerance(
        f"batch {batch} in {report.precision} differs from the published file by {worst.max_error:.3g} "
        f"(range {worst.peak:.3g}{psnr}) in {worst.name}",
        where=f"model {report.model}",
        hint="fp32 stays in use" if report.precision != "fp32" else "use it one face at a time: --batch 1",
    )
    error.report = report
    raise error


def compare(
    manifest: ModelManifest,
    original: Path,
    changed: Path,
    batch: int | None,
    precision: Precision,
    *,
    half: bool = False,
    film: Feeds | None = None,
) -> ParityReport:
    """The report on the file `changed`; `half` where the `original` is in float16. One session is open at a time.

    `film` are inputs of real faces. INT8 is compared on them alone: it was made for such.
    """
    session = open_plain(changed)
    shapes = {one.name: one.shape for one in session.get_inputs()}
    parts = [examples(manifest, shapes, batch or FREE_ITEMS)] if precision != "int8" or film is None else []
    parts += [film] if film is not None else []
    feeds = {name: np.concatenate([part[name] for part in parts]) for name in shapes}
    items = len(next(iter(feeds.values())))
    names = [spec.name for spec in manifest.outputs]
    got = run_in_calls(session, feeds, names, batch, where=f"model {manifest.id}")
    del session
    reference = run_singly(manifest, original, feeds, names)
    for name, mine, true in zip(names, got, reference, strict=True):
        if mine.size != true.size:
            raise ModelError(
                f"output {name} has shape {list(mine.shape)}, expected {list(true.shape)}", where=f"model {manifest.id}"
            )
    outputs = [
        measure(name, mine, true.reshape(mine.shape)) for name, mine, true in zip(names, got, reference, strict=True)
    ]
    rule = _tolerance(precision, half)
    if rule == "fp32" and not all(_within(one, rule) for one in outputs):
        outputs = _with_noise(manifest, original, feeds, reference, outputs)
    passed = all(_within(one, rule) for one in outputs)
    real = len(next(iter(film.values()))) if film is not None else 0
    return ParityReport(manifest.id, precision, batch, items, tuple(outputs), passed, half, real)


def _with_noise(
    manifest: ModelManifest,
    original: Path,
    feeds: Feeds,
    reference: Sequence[Float32Array],
    outputs: Sequence[OutputParity],
) -> list[OutputParity]:
    """The outputs with the published file's own rounding noise on these inputs."""
    moved = {name: np.nextafter(feed, np.float32(np.inf)) for name, feed in feeds.items()}
    names = [one.name for one in outputs]
    again = run_singly(manifest, original, moved, names, optimised=False)
    noise = [float(((one.reshape(true.shape) - true) ** 2).mean()) for one, true in zip(again, reference, strict=True)]
    return [replace(one, noise=mean) for one, mean in zip(outputs, noise, strict=True)]


def run_in_calls(
    session: ort.InferenceSession, feeds: Feeds, names: Sequence[str], batch: int | None, *, where: str
) -> list[Float32Array]:
    """The outputs `names` for all items of the feeds, in calls of `batch`, the last one filled up with its own last."""
    count, size = len(next(iter(feeds.values()))), batch or FREE_CALL
    found: list[list[Float32Array]] = []
    for start in range(0, count, size):
        end = min(start + size, count)
        rows = np.minimum(np.arange(start, start + size if batch else end), end - 1)
        outputs = session.run(_names_in(session, names), {name: feed[rows] for name, feed in feeds.items()})
        found.append([np.asarray(one, np.float32) for one in outputs])
    for name, one in zip(names, found[0], strict=True):
        if one.ndim == 0 or len(one) != (batch or min(size, count)):
            raise ModelError(f"output {name} has shape {list(one.shape)}, not one item a face", where=where)
    return [np.concatenate(parts)[:count] for parts in zip(*found, strict=True)]


def run_singly(
    manifest: ModelManifest,
    original: Path,
    feeds: Mapping[str, Float32Array],
    names: Sequence[str],
    *,
    optimised: bool = True,
) -> list[Float32Array]:
    """What the published file computes for each item alone, stacked: [n, *shape of one]."""
    session = open_plain(original, optimised=optimised)
    types = {one.name: one.type for one in session.get_inputs()}
    numpy_types = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
    unknown = [name for name in feeds if types.get(name) not in numpy_types]
    if unknown:
        raise ModelError(f"no input of real numbers named {', '.join(unknown)}", where=f"model {manifest.id}")
    count = len(next(iter(feeds.values())))
    found: list[list[Float32Array]] = []
    own_names = _names_in(session, names)
    for at in range(count):
        one = {name: feed[at : at + 1].astype(numpy_types[types[name]]) for name, feed in feeds.items()}
        found.append([np.asarray(output, np.float32) for output in session.run(own_names, one)])
    return [np.stack(outputs) for outputs in zip(*found, strict=True)]


def _names_in(session: ort.InferenceSession, names: Sequence[str]) -> list[str]:
    """What the file calls the manifest's outputs `names`; surgery keeps its names."""
    return match_outputs([one.name for one in session.get_outputs()], names)


def measure(name: str, mine: Float32Array, true: Float32Array) -> OutputParity:
    """The difference of two arrays of one shape. Where a number is not finite, all errors are `BROKEN`."""
    error = np.abs(mine.astype(np.float64) - true)
    if not np.isfinite(error).all():
        error = np.full(error.shape, BROKEN)
    peak, greatest, mean_square = float(np.ptp(true)), float(np.abs(true).max()), float((error**2).mean())
    psnr = None if mean_square == 0 else 10 * float(np.log10(max(peak, 1e-30) ** 2 / mean_square))
    return OutputParity(name, float(error.max()), float(error.mean()), peak, greatest, mean_square, psnr)


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


def _tolerance(precision: Precision, half: bool) -> Precision:
    return "fp16" if half and precision == "fp32" else precision


def _within(one: OutputParity, rule: Precision) -> bool:
    unit = max(1.0, one.greatest)
    if rule != "fp32":
        spots = rule == "fp16" and one.max_error > LARGEST_ERROR * one.peak
        return one.psnr_db is None or (one.psnr_db >= LOWEST_PSNR_DB[rule] and not spots)
    noisy = one.mean_square <= NOISE_FACTOR**2 * one.noise and one.max_error <= NOISY_TOLERANCE * unit
    return one.max_error <= TOLERANCE * unit or noisy


def _limit(rule: Precision, noise: float) -> str:
    if rule != "fp32":
        spots = f", nothing off by more than {LARGEST_ERROR:.2%} of the range" if rule == "fp16" else ""
        return f"at least {LOWEST_PSNR_DB[rule]:g} dB{spots}"
    if noise:
        return f"{NOISE_FACTOR} x its rounding noise of {noise**0.5:.2g}"
    return f"{TOLERANCE:g} x the greatest number"
