"""`farm bench swap`: faces through a neural swapper, stage by stage, against the network alone, against the plain loop
with insightface's INSwapper, and against the machine's arithmetic.

The swapper is a twin: inswapper_128's operators and shapes with random weights, so the figures are the real model's
while its pictures mean nothing. Sides are run in turn within one call, so that a drifting machine changes both.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil

from core.faces.analyse import FaceModels, analyse_segment, open_models
from core.faces.identity import load_identity
from core.inference.arithmetic import multiply_adds
from core.inference.manifest import ModelManifest, load_manifests, manifest_folder
from core.inference.providers import CPU, DeviceSpec
from core.inference.sessions import Session, Sessions
from core.inference.twins import build_twin
from core.inference.variants import Variant, prepare
from core.inference.weights import add
from core.media.decode import DecodedFrame, decode_segment
from core.media.encode import SegmentEncoder, resolve_encoder
from core.media.index import index_film
from core.media.plan import plan_segments
from core.media.planes import working_format
from core.quiet import in_silence
from core.records import EncodeSpec, FaceTable, Float32Array, MediaIndex, Segment, SourceIdentity, SourceSpec
from core.swap.batch import BATCH
from core.swap.chain import Chain, Clock
from core.swap.replace import Replacer
from core.swap.stages import OpenRole, Stage
from core.swap.swapper import Swapper, open_swapper
from farm.bench.clips import ffmpeg_program
from farm.bench.measure import Spread
from farm.bench.media import Row, Table, machine

MODEL = "inswapper_128"
BATCHES = (1, 2, 4, 8)
VECTOR_SEED = 3
OVERHEAD_GOAL_MS = 6.0
WHOLE_GOAL = 1.2
LOOP_GOAL = 0.1
GROWTH_GOAL_MB = 20.0
PRODUCT_SIDE = 1536
MEMORY_WIDTH = 32
PLAIN_WIDTH = 8  # of the twin for which frames and rounds are given
LEAST_FRAMES, LEAST_ROUNDS = 4, 2
# Above this, the differences of two runs of the network alone are larger than what the rest of the work takes.
RESOLVED_MS = 400.0
# Dense fp16 tera operations a second, by a part of the device's name: data sheets, and for the H200 a measured product.
GPU_TFLOPS = {"H200": 780.0, "L4": 121.0, "A10G": 70.0, "T4": 65.0}


@dataclass(frozen=True)
class Scene:
    """A film with one face, decoded, its faces found, and somebody to put in."""

    index: MediaIndex
    segment: Segment
    frames: list[DecodedFrame]
    faces: FaceTable
    identity: SourceIdentity
    seconds: dict[str, float]  # a frame: decode, detect, encode

    def first(self, count: int) -> Scene:
        """The scene cut off after `count` frames."""
        frames = self.frames[:count]
        return replace(self, frames=frames, faces=self.faces.take(self.faces.frame <= frames[-1].ordinal))


def make_face_film(folder: Path, seconds: int, size: str = "1920x1080") -> tuple[Path, Path]:
    """(film, picture): a portrait that wanders over a moving test picture, 25 frames/s, and that portrait."""
    from PIL import Image  # noqa: PLC0415 - with scikit-image, a development package that holds the portrait
    from skimage import data  # noqa: PLC0415

    picture, film = folder / "portrait.png", folder / f"faces-{size}.mp4"
    Image.fromarray(cast(Any, data).astronaut()).save(picture)
    high = int(size.split("x")[1])
    graph = (
        f"testsrc2=size={size}:rate=25:duration={seconds}[b];[0]scale={high * 3 // 4}:-2[f];"
        "[b][f]overlay=x='(W-w)/2+W/8*sin(2*t)':y='(H-h)/2+H/16*cos(3*t)':shortest=1,format=yuv420p"
    )
    command = [ffmpeg_program(), "-v", "error", "-y", "-loop", "1", "-framerate", "25", "-i", str(picture)]
    command += ["-filter_complex", graph, "-c:v", "libx264", "-preset", "veryfast", "-crf", "18", str(film)]
    subprocess.run(command, check=True)
    return film, picture


def make_scene(film: Path, picture: Path, models: FaceModels, folder: Path) -> Scene:
    """Decode the film, look for its faces, encode it once, and note what each took a frame."""
    index = index_film(film)
    (segment,) = plan_segments(index, Fraction(10**6))
    started = time.monotonic()
    frames = list(decode_segment(film, index, segment))
    decode_s = time.monotonic() - started
    started = time.monotonic()
    faces = analyse_segment(film, index, segment, models, heartbeat=lambda _: None).faces
    detect_s = max(time.monotonic() - started - decode_s, 0.0)
    chosen = resolve_encoder(index, EncodeSpec("h264", 18, "veryfast"), "mp4")
    started = time.monotonic()
    with SegmentEncoder(folder / "encoded.mp4", chosen, index, segment) as encoder:
        for item in frames:
            encoder.write(item.frame, item.pts)
        encoder.close()
    encode_s = time.monotonic() - started
    largest = faces.take(np.unique(faces.frame, return_index=True)[1])
    chosen_faces = replace(largest, role=np.zeros(len(largest), np.int32))
    vector = np.random.default_rng(VECTOR_SEED).standard_normal(512).astype(np.float32)
    identity = replace(load_identity(SourceSpec(str(picture)), models), vectors={"w600k_r50": vector})
    count = len(frames)
    seconds = {"decode": decode_s / count, "detect": detect_s / count, "encode": encode_s / count}
    return Scene(index, segment, frames, chosen_faces, identity, seconds)


def through_chain(scene: Scene, swapper: Swapper, frames: Iterator[DecodedFrame]) -> dict[str, float]:
    """Seconds by stage, and "whole", of sending `frames` through the face stages; "faces" is their number."""
    clock = Clock()
    role = OpenRole(scene.identity, (Stage("swap", swapper),))
    replacer = Replacer(scene.index, working_format(scene.index.video.pix_fmt), scene.faces, [role])
    chain = Chain(replacer, clock)
    started = time.monotonic()
    for _ in chain.through(frames):
        pass
    whole = time.monotonic() - started
    return {**clock.seconds, **chain.seconds(), "whole": whole, "faces": float(replacer.faces_replaced)}


def inputs(faces: int) -> dict[str, Float32Array]:
    random = np.random.default_rng(1)
    target = random.random((faces, 3, 128, 128), np.float32)
    source = random.standard_normal((faces, 512)).astype(np.float32)
    return {"target": target, "source": source / np.linalg.norm(source, axis=1, keepdims=True)}


def timed(call: Callable[[], object]) -> float:
    started = time.monotonic()
    call()
    return time.monotonic() - started


def bench_network(table: Table, session: Session, macs: int, repeats: int) -> None:
    """Faces a second of the network alone, and its share of what the machine's products reach."""
    rates: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for batch in BATCHES:
        session.run(inputs(batch))
    for _ in range(repeats):
        for batch in BATCHES:
            feeds = inputs(batch)
            rates[batch].append(batch / timed(lambda feeds=feeds: session.run(feeds)))  # type: ignore[misc]
    ceiling, name = arithmetic_ceiling(session)
    table.add(Row("multiply-adds a face", f"{macs / 1e9:.2f} G"))
    table.add(Row(f"  ceiling: {name}", f"{ceiling / 1e9:.0f} GFLOP/s, {ceiling / 2 / macs:.1f} faces/s"))
    for batch in BATCHES:
        rate = Spread.of(rates[batch])
        share = rate.median * 2 * macs / ceiling
        table.add(Row(f"network alone, batch {batch}, faces/s", rate.text(1), f"{share:.0%} of the ceiling"))


def arithmetic_ceiling(session: Session) -> tuple[float, str]:
    """Operations a second: of the GPU by its data sheet, of the CPU as a large matrix product reaches them here."""
    if session.provider != CPU:
        for part, tera in GPU_TFLOPS.items():
            if part in session.device:
                return tera * 1e12, f"{part}, dense fp16"
    left = np.ones((PRODUCT_SIDE, PRODUCT_SIDE), np.float32)
    best = min(timed(lambda: left @ left) for _ in range(5))
    return 2 * PRODUCT_SIDE**3 / best, f"fp32 product of two {PRODUCT_SIDE} x {PRODUCT_SIDE} matrices here"


def bench_pipeline(
    table: Table, scene: Scene, swapper: Swapper, session: Session, loop: Loop | None, rounds: int
) -> None:
    """The face stages, the network alone on as many faces, and the plain loop, in turn."""
    through_chain(scene, swapper, iter(scene.frames))
    network, whole, stages, loops, inside = [], [], [], [], []
    count = len(scene.faces)
    feeds = inputs(BATCH)
    calls = -(-count // BATCH)
    for _ in range(rounds):
        network.append(1e3 / (calls * BATCH) * sum(timed(lambda: session.run(feeds)) for _ in range(calls)))
        done = through_chain(scene, swapper, iter(scene.frames))
        whole.append(1e3 * done["whole"] / done["faces"])
        stages.append({name: 1e3 * done[name] / done["faces"] for name in ("crop", "swap", "paste")})
        if loop is not None:
            loops.append(1e3 * loop.a_face())
            inside.append(1e3 * loop.network_a_face())
    for name, seconds in scene.seconds.items():
        table.add(Row(f"{name}, 1080p, ms a frame", f"{1e3 * seconds:.1f}"))
    for name in ("crop", "swap", "paste"):
        table.add(Row(f"{name}, ms a face", Spread.of([stage[name] for stage in stages]).text(1)))
    table.add(Row("network alone at batch 4, ms a face", Spread.of(network).text(1)))
    own = Spread.of([stage["crop"] + stage["paste"] for stage in stages])
    resolved = Spread.of(network).median < RESOLVED_MS
    table.add(
        Row(
            "crop and paste, ms a face",
            own.text(1),
            *(() if resolved else ("at most 6", own.median <= OVERHEAD_GOAL_MS)),
        )
    )
    overhead = Spread.of([all_of - alone for all_of, alone in zip(whole, network, strict=True)])
    what = "everything but the network, ms a face"
    if resolved:
        table.add(Row(what, overhead.text(1), "at most 6", overhead.median <= OVERHEAD_GOAL_MS))
    else:
        table.add(Row(what, overhead.text(0), "below what the network's own runs differ by"))
    ratio = Spread.of([all_of / alone for all_of, alone in zip(whole, network, strict=True)])
    table.add(Row("whole / network alone", ratio.text(), "at most 1.20", ratio.median <= WHOLE_GOAL))
    if loop is None:
        table.add(Row("plain loop with insightface", "insightface is not installed"))
        return
    rest = Spread.of([outer - inner for outer, inner in zip(loops, inside, strict=True)])
    table.add(Row("plain loop, INSwapper.get(paste_back=True), ms a face", Spread.of(loops).text(1)))
    table.add(Row("  everything but the network", rest.text(1)))
    ours = [all_of - alone for all_of, alone in zip(whole, network, strict=True)]
    theirs = [outer - inner for outer, inner in zip(loops, inside, strict=True)]
    tenth = Spread.of([a / b for a, b in zip(ours, theirs, strict=True)])
    met = tenth.median <= LOOP_GOAL
    if resolved:
        table.add(Row("everything but the network, ours / the loop's", tenth.text(), "at most 0.10", met))
    speed = Spread.of([outer / all_of for outer, all_of in zip(loops, whole, strict=True)])
    table.add(Row("faces a second, ours / the loop's", speed.text()))


class Loop:
    """The loop a user would write: insightface's INSwapper on each frame, pasting back."""

    def __init__(self, scene: Scene, model: Path) -> None:
        from insightface.app.common import Face  # noqa: PLC0415
        from insightface.model_zoo.inswapper import INSwapper  # noqa: PLC0415

        self._swapper = INSwapper(model_file=str(model))
        self._source = Face(embedding=scene.identity.vectors["w600k_r50"])
        points = {int(frame): scene.faces.points[row] for row, frame in enumerate(scene.faces.frame)}
        self._work = [
            (item.frame.to_ndarray(format="bgr24"), Face(kps=points[item.ordinal]))
            for item in scene.frames
            if item.ordinal in points
        ]

    def a_face(self) -> float:
        """Seconds a face of one pass over the film."""
        started = time.monotonic()
        for picture, face in self._work:
            self._swapper.get(picture, face, self._source, paste_back=True)
        return (time.monotonic() - started) / len(self._work)

    def network_a_face(self) -> float:
        """Seconds a face of its network alone, a face at a time."""
        feeds = inputs(1)
        return sum(timed(lambda: self._swapper.session.run(None, feeds)) for _ in self._work) / len(self._work)


def open_loop(scene: Scene, model: Path) -> Loop | None:
    """None where insightface is not installed. What it and its libraries print is not part of the table."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="insightface")
    try:
        with in_silence(), contextlib.redirect_stdout(io.StringIO()):
            return Loop(scene, model)
    except ImportError:
        return None


def bench_memory(table: Table, scene: Scene, swapper: Swapper, frames: int) -> None:
    """Resident memory while one small film goes through the stages over and over."""
    process = psutil.Process()
    seen: list[int] = []

    def endless() -> Iterator[DecodedFrame]:
        for number in range(frames):
            if number in (frames // 10, frames - 1):
                seen.append(process.memory_info().rss)
            yield scene.frames[number % len(scene.frames)]

    through_chain(scene, swapper, endless())
    grown = (seen[1] - seen[0]) / 1e6
    what = f"memory between frame {frames // 10} and {frames}, MB"
    table.add(
        Row(what, f"{seen[1] / 1e6:.0f}, {grown:+.1f}", f"at most +{GROWTH_GOAL_MB:.0f}", grown <= GROWTH_GOAL_MB)
    )


def bench_swap(
    folder: Path,
    model_cache: Path,
    *,
    widths: Sequence[int],
    frames: int,
    rounds: int,
    memory_frames: int,
    device: DeviceSpec,
) -> Table:
    """Run everything in `folder` and return the rows that were printed, a table for each of `widths`, which divide the
    twin's channels. `frames` and `rounds` are those of an eighth of the channels; see `shares`."""
    manifests = load_manifests(manifest_folder())
    cache = folder / "models"
    cache.mkdir()
    for path in model_cache.glob("*.onnx"):
        if any(path.name.startswith(f"{m.id}-") for m in manifests.values() if m.embedded):
            (cache / path.name).symlink_to(path)
    models = open_models(Sessions(cache, device))
    film, picture = make_face_film(folder, max(1, frames // 25))
    scene = make_scene(film, picture, models, folder)
    table = Table()
    print(machine())
    for width in widths:
        bench_width(table, scene, manifests[MODEL], cache, width, rounds, device)
    if memory_frames:
        small = folder / "small"
        small.mkdir()
        scene = make_scene(*make_face_film(small, 2, "320x240"), models, small)
        # Memory does not depend on the channels, time does.
        add_twin(manifests[MODEL], cache, MEMORY_WIDTH)
        print(f"\nmemory, {MODEL} twin, channels / {MEMORY_WIDTH}, 320 x 240")
        bench_memory(table, scene, open_swapper(MODEL, Sessions(cache, device)), memory_frames)
    return table


def bench_width(
    table: Table, scene: Scene, manifest: ModelManifest, cache: Path, width: int, rounds: int, device: DeviceSpec
) -> None:
    """One table: a twin whose channels are divided by `width`. Its sessions end with it."""
    model = add_twin(manifest, cache, width)
    sessions = Sessions(cache, device)
    swapper, session = open_swapper(MODEL, sessions), sessions.open(manifest)
    on_cpu = session.provider == CPU
    count, rounds = shares(width, len(scene.frames), rounds) if on_cpu else (len(scene.frames), rounds)
    scene = scene.first(count)
    print(
        f"\n{MODEL} twin, channels / {width}; {session.use.provider} on {session.device}, {device.threads} threads; "
        f"{len(scene.faces)} faces of 1080p; median (lowest to highest) of {rounds}"
    )
    # A session never takes more at once than its device's batch.
    wide = Sessions(cache, replace(device, batch=max(BATCHES))).open(manifest)
    bench_network(table, wide, multiply_adds(prepare(manifest, cache, Variant(1)).path.read_bytes()), rounds)
    wide.drop()  # real weights are half a gigabyte, and the loop has them too
    bench_pipeline(table, scene, swapper, session, open_loop(scene, model), rounds)
    session.drop()
    for path in (cache / "prepared").glob(f"{MODEL}-*"):
        path.unlink()


def shares(width: int, frames: int, rounds: int) -> tuple[int, int]:
    """Frames and rounds for a twin of this width on a CPU, given those of a width of 8: more channels make a face
    longer by their square."""
    if width >= PLAIN_WIDTH:
        return frames, rounds
    longer = (PLAIN_WIDTH / width) ** 2
    return min(frames, max(LEAST_FRAMES, round(frames / longer))), min(rounds, max(LEAST_ROUNDS, rounds // 2))


def add_twin(manifest: ModelManifest, cache: Path, width: int) -> Path:
    """Put a twin of the model into the cache as an operator would put the real file; its path there."""
    path = cache / f"{manifest.id}.twin"
    path.write_bytes(build_twin(manifest, width=width))
    try:
        return add(manifest, path, cache, unlisted=True, accept_licence=True).path
    finally:
        path.unlink()
