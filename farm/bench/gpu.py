"""What a GPU does to every kind of network: one program, to be run where there is one.

    python -m farm.bench.gpu [--devices cuda tensorrt cpu] [--models NAME ...] [--full] [--json FILE]

For each device and model it makes a twin, opens it strictly (no fallback), compares one item with float64 arithmetic
and a batch with single items, measures batches, each with a session of its own, and looks at the device's memory
before and after many calls. A model that fails is a row with the reason. The table comes last.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core import codec
from core.errors import FarmError, ModelError

if TYPE_CHECKING:
    from core.inference.manifest import ModelManifest
    from core.inference.providers import Wish
    from core.inference.sessions import Session
    from core.records import Float32Array
    from core.records.models import Precision

MODELS = ("inswapper_128", "hyperswap_1a_256", "w600k_r50", "det_10g", "xseg", "gfpgan_1.4")
BATCHES = (1, 4, 8)
CALLS = (3, 200)  # before measuring; at most
STEADY_CALLS = 1000
# 16-bit floating-point rate without sparsity in FLOP/s (data sheets; H200 measured), and what a face costs inswapper.
PEAKS = {"H200": 780e12, "L4": 121e12, "A10G": 70e12, "T4": 65e12}
INSWAPPER_FLOP = 349e9


@dataclass
class Row:
    """One model on one device. error: largest difference from float64, in parts of the output's root mean square;
    mixed: largest difference of a batch from its items alone; rates: items a second by batch; steps: what memory forced
    it to."""

    model: str
    device: Wish
    precision: Precision
    provider: str = ""
    batch: int | None = None
    error: float | None = None
    mixed: float | None = None
    build_s: float = 0.0
    open_s: float = 0.0
    rates: dict[int, float] = field(default_factory=dict)
    share: float | None = None
    grown_mib: float | None = None
    steps: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class Plan:
    """What is measured; `full`: twins of all channels, without the float64 arithmetic, which would take hours."""

    devices: Sequence[Wish]
    models: Sequence[str]
    precisions: Sequence[Precision]
    batches: Sequence[int]
    seconds: float
    full: bool


def main(arguments: Sequence[str]) -> int:
    """Run everything; 1 when a model failed."""
    parser = argparse.ArgumentParser(prog="python -m farm.bench.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--devices", nargs="+", default=["cuda", "tensorrt"], choices=["cpu", "cuda", "tensorrt"])
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16"], choices=["fp32", "fp16"])
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES), help="items of one call")
    parser.add_argument("--seconds", type=float, default=1.0, help="measuring time of each batch")
    parser.add_argument("--full", action="store_true", help="all channels; without the float64 arithmetic")
    parser.add_argument("--json", type=Path, help="write the rows there, too")
    parser.add_argument("--cache", type=Path, help="keep twins and engines in this folder")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="farm-gpu-") as scratch:
        cache = asked.cache or Path(scratch)
        cache.mkdir(parents=True, exist_ok=True)
        rows = measure(
            cache, Plan(asked.devices, asked.models, asked.precisions, asked.batches, asked.seconds, asked.full)
        )
    about = machine()
    if asked.json is not None:
        plain = [asdict(row) | {"rates": {str(batch): each for batch, each in row.rates.items()}} for row in rows]
        asked.json.write_bytes(codec.encode({"machine": about, "rows": plain}))
    sys.stdout.write(table(about, rows))
    return 1 if any(row.fault for row in rows) else 0


def measure(cache: Path, plan: Plan) -> list[Row]:
    """A row for every model, device and precision."""
    from core.inference.manifest import by_id, load_manifests, manifest_folder  # noqa: PLC0415

    rows: list[Row] = []
    manifests = load_manifests(manifest_folder())
    for manifest in [by_id(manifests, name) for name in plan.models]:
        say(f"{manifest.id}: twin")
        exact = install(manifest, cache, full=plan.full)
        for device in plan.devices:
            for precision in plan.precisions:
                row = Row(manifest.id, device, precision)
                rows.append(row)
                try:
                    fill(row, manifest, cache, plan, exact)
                except FarmError as error:
                    row.fault = str(error)
                say(f"{manifest.id} {device} {precision}: {row.fault or f'{row.provider}, {rate(row)}'}")
    return rows


def install(manifest: ModelManifest, cache: Path, *, full: bool) -> list[Float32Array] | None:
    """Register the twin; its outputs of the first made-up item in float64, None at full width, which takes too long."""
    from core.inference.exact import exact_outputs  # noqa: PLC0415 - loads onnx
    from core.inference.reference import made_up_feeds  # noqa: PLC0415
    from core.inference.twins import build_twin  # noqa: PLC0415
    from core.inference.weights import add, installed  # noqa: PLC0415

    if manifest.embedded:
        raise ModelError(f"{manifest.id} needs no twin", hint="measure it with: farm models build")
    file = cache / f"{manifest.id}.scratch"
    file.write_bytes(build_twin(manifest, width=1 if full else 8))
    add(manifest, file, cache, unlisted=True, accept_licence=True)
    file.unlink()
    if full:
        return None
    one = {name: feed[:1] for name, feed in made_up_feeds(manifest).items()}
    names = [spec.name for spec in manifest.outputs]
    return [np.asarray(output, np.float32) for output in exact_outputs(installed(manifest, cache).path, one, names)]


def fill(row: Row, manifest: ModelManifest, cache: Path, plan: Plan, exact: list[Float32Array] | None) -> None:
    """Everything that is measured of one model on one device. Raises `ModelError` when it is not run there."""
    from core.inference.loading import filled  # noqa: PLC0415
    from core.inference.providers import DeviceSpec  # noqa: PLC0415
    from core.inference.reference import made_up_feeds  # noqa: PLC0415
    from core.inference.sessions import Sessions  # noqa: PLC0415

    feeds = made_up_feeds(manifest)
    for batch in plan.batches:
        sessions = Sessions(cache, DeviceSpec(wish=row.device, batch=batch), progress=say)
        started = time.perf_counter()
        sessions.build(manifest, precision=row.precision)
        built = time.perf_counter()
        session = sessions.open(manifest, precision=row.precision)
        row.build_s += built - started
        row.open_s += time.perf_counter() - built
        row.provider, row.batch, row.precision = session.provider, session.batch, session.use.precision
        alone = session.run(filled(feeds, 1))
        if exact is not None:
            errors = [difference(got, right) for got, right in zip(alone, exact, strict=True)]
            row.error = max([*errors, row.error or 0.0])
        several = session.run(filled(feeds, batch + 1))
        mixed = [difference(got[:1], one) for got, one in zip(several, alone, strict=True)]
        row.mixed = max([*mixed, row.mixed or 0.0])
        given = filled(feeds, batch)
        row.rates[batch] = batch / median_s(lambda given=given, run=session.run: run(given), plan.seconds)  # type: ignore[misc]
        row.grown_mib = growth_mib(session, given)
        row.steps = session.use.steps
        session.drop()
    peak = next((peak for name, peak in PEAKS.items() if name in session.device), None)
    if peak is not None and manifest.id.startswith("inswapper") and plan.full:
        row.share = max(row.rates.values()) * INSWAPPER_FLOP / peak


def difference(got: Float32Array, right: Float32Array) -> float:
    """The largest difference in parts of the right output's root mean square. Shapes may differ in axes of one."""
    flat, true = np.ravel(got).astype(np.float64), np.ravel(right).astype(np.float64)
    return float(np.abs(flat - true).max() / max(float(np.sqrt(np.mean(np.square(true)))), 1e-12))


def median_s(call: Callable[[], object], seconds: float) -> float:
    """The median of calls repeated for some seconds, at least of one."""
    for _ in range(CALLS[0]):
        call()
    took: list[float] = []
    until = time.perf_counter() + seconds
    while len(took) < CALLS[1] and (time.perf_counter() < until or not took):
        started = time.perf_counter()
        call()
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def growth_mib(session: Session, feeds: dict[str, Float32Array]) -> float | None:
    """How much more of the GPU is in use after many calls; None without one."""
    from core.inference.gpu import look_at_gpu  # noqa: PLC0415

    try:
        before = look_at_gpu(0).used_bytes
        for _ in range(STEADY_CALLS):
            session.run(feeds)
        return (look_at_gpu(0).used_bytes - before) / 2**20
    except ModelError:
        return None


def machine() -> dict[str, str]:
    """Whose figures these are."""
    from core.inference.gpu import look_at_gpu, tensorrt_version  # noqa: PLC0415
    from core.inference.providers import POLICY, runtime_version, try_provider  # noqa: PLC0415

    about = {"onnxruntime": runtime_version()}
    try:
        gpu = look_at_gpu(0)
        about |= {"gpu": gpu.name, "driver": gpu.driver, "capability": gpu.capability, "tensorrt": tensorrt_version()}
    except ModelError as error:
        about["missing"] = error.what
    return about | {name: try_provider(name) or "works" for name in POLICY}


def rate(row: Row) -> str:
    return " ".join(f"{batch}:{each:.0f}" for batch, each in row.rates.items())


def table(about: dict[str, str], rows: Sequence[Row]) -> str:
    """The machine, then a row a line, with items a second by batch."""
    lines = [f"{name}: {value}" for name, value in about.items()]
    head = f"{'model':<18} {'device':<9} {'prec':<5} {'provider':<26} {'fixed':>5} {'error':>8} {'mixed':>8}"
    lines += ["", f"{head} {'build s':>8} {'open s':>7} {'grown MiB':>9} {'share':>6}  items/s by batch"]
    for row in rows:
        start = f"{row.model:<18} {row.device:<9} {row.precision:<5}"
        if row.fault:
            lines.append(f"{start} {row.fault}")
            continue
        lines.append(
            f"{start} {row.provider:<26} {row.batch or 'any':>5} {number(row.error):>8} {number(row.mixed):>8}"
            f" {row.build_s:8.1f} {row.open_s:7.1f} {number(row.grown_mib):>9} {number(row.share):>6}"
            f"  {rate(row)} {', '.join(row.steps)}".rstrip()
        )
    return "\n".join(lines) + "\n"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def say(text: str) -> None:
    sys.stderr.write(f"farm: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except FarmError as told:
        say(str(told))
        sys.exit(told.exit_code)
