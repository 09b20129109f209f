"""How long a renderer takes: a table of spans, and what receipts of finished segments say, which goes before it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from actors.drive import FRAMES_A_FACE
from core.records import AnalysisReceipt, SegmentReceipt
from core.records.cost import Range
from core.records.job import SwapOptions

TABLE = Path(__file__).parent / "rates.toml"
MESH = "mesh"
NOTHING = Range(0.0, 0.0)
USUAL_CORES = 4.0  # of a renderer whose cores nobody named
FEW = 3  # receipts: less says nothing
SPREAD = (0.7, 1.4)  # what segments of one film differ from the mean of those that are done
IN_FLIGHT = 2  # segments are analysed two at a time: a receipt's seconds are up to so many times the slot's


def plus(*spans: Range) -> Range:
    return Range(sum(span.low for span in spans), sum(span.high for span in spans))


def times(span: Range, low: float, high: float | None = None) -> Range:
    return Range(span.low * low, span.high * (low if high is None else high))


@dataclass(frozen=True)
class Load:
    """Work to do: frames to look at (`looked` of `analyse_frames`) and faces found there; frames to encode, faces to
    replace in them, and frames whose packets are copied; of those to encode, `maybe_copied` may be copied after all.
    `flop` is what the networks of a face take, 0 for the mesh.
    """

    megapixels: float
    codec: str
    preset: str = ""
    analyse_segments: int = 0
    analyse_frames: int = 0
    looked: int = 0
    found: Range = NOTHING
    render_segments: int = 0
    render_frames: int = 0
    maybe_copied: int = 0
    copied_segments: int = 0
    copied_frames: int = 0
    faces: Range = NOTHING
    flop: Range = NOTHING


@dataclass(frozen=True)
class Machine:
    """What one renderer has: its share of cores, 0 where nobody knows, and the name of its GPU, "" for none."""

    cores: float = 0.0
    accelerator: str = ""


@dataclass(frozen=True)
class Measured:
    """Slot-seconds a unit of work (a frame, or a tenth of a face; actors.drive) by map, of finished segments on one
    device; None for a map of which too little is known."""

    analyse: Range | None = None
    render: Range | None = None
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class Taken:
    """Slot-seconds, and what they rest on."""

    slot_s: Range
    rests_on: tuple[str, ...] = field(default=())


@cache
def table() -> dict[str, Any]:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def span(*keys: str) -> Range:
    value: Any = table()
    for key in keys:
        value = value[key]
    low, high = value if isinstance(value, list) else (value, value)
    return Range(float(low), float(high))


def flop_of(swapper: str, options: SwapOptions) -> Range:
    """Floating-point operations of the networks of one face."""
    if swapper in {MESH, "none"}:
        return NOTHING
    known = table()["network"]
    swap = times(span("network", swapper if swapper in known else "swapper"), options.boost**2)
    masks = sum(kind in {"occlusion", "region"} for kind in options.masks)
    enhancer = span("network", "enhancer") if options.enhancer else NOTHING
    return plus(swap, times(span("network", "mask"), masks), enhancer)


def slot_seconds(load: Load, machine: Machine, measured: Measured) -> Taken:
    """Seconds of renderers for `load`. Encoder and networks work side by side: at best the slower of them counts, at
    worst both."""
    rests: list[str] = list(measured.told)
    if (load.analyse_frames and measured.analyse is None) or (load.render_frames and measured.render is None):
        cores = f"{machine.cores:g} cores" if machine.cores else f"{USUAL_CORES:g} cores, as nobody says how many"
        rests.append(f"rates of the package for {machine.accelerator or 'no GPU'} and {cores} a renderer")
    return Taken(plus(_analyse(load, machine, measured), _render(load, machine, measured)), tuple(rests))


def _analyse(load: Load, machine: Machine, measured: Measured) -> Range:
    if not load.analyse_frames:
        return NOTHING
    if measured.analyse is not None:
        return times(measured.analyse, load.analyse_frames)
    decode = _host(times(span("media", "decode"), load.megapixels * load.analyse_frames), machine)
    where = "gpu" if machine.accelerator else "core"
    look = plus(times(span("analyse", f"frame_{where}"), load.looked), _each("analyse", f"face_{where}", load.found))
    look = look if machine.accelerator else _host(look, machine)
    return Range(max(decode.low, look.low), decode.high + look.high)


def _render(load: Load, machine: Machine, measured: Measured) -> Range:
    if not load.render_frames:
        return NOTHING
    frames = Range(float(load.render_frames - load.maybe_copied), float(load.render_frames))
    if measured.render is not None:
        units = plus(frames, times(load.faces, FRAMES_A_FACE))
        return times(measured.render, units.low, units.high)
    codecs = table()["encode"]
    presets = codecs.get(load.codec, codecs["other"])
    encode = presets.get(load.preset, presets["usual"])
    frame = times(span("media", "films"), encode)
    pixels = times(frames, load.megapixels)
    host = plus(times(frame, pixels.low, pixels.high), _each("face", "host", load.faces))
    if not load.flop.high:
        return _host(plus(host, _each("face", MESH, load.faces)), machine)
    flop = Range(load.flop.low * load.faces.low, load.flop.high * load.faces.high)
    if not machine.accelerator:
        core = span("core", "flops")
        return _host(plus(host, Range(flop.low / core.high, flop.high / core.low)), machine)
    gpu, part = span("gpu", _gpu(machine.accelerator)), span("gpu", "part")
    network = Range(flop.low / (gpu.high * part.high), flop.high / (gpu.low * part.low))
    work = _host(host, machine)
    return Range(max(work.low, network.low), work.high + network.high)


def _each(group: str, name: str, count: Range) -> Range:
    return times(span(group, name), count.low, count.high)


def _host(core_s: Range, machine: Machine) -> Range:
    """Seconds of a renderer's cores: at best all of them work, at worst half."""
    cores = machine.cores or USUAL_CORES
    return Range(core_s.low / cores, core_s.high / max(1.0, cores / 2))


def _gpu(accelerator: str) -> str:
    """The GPU of the table that a name as "NVIDIA L40S" means; "other" where there is none."""
    words = accelerator.replace("-", " ").split()
    return next((name for name in table()["gpu"] if name in words and name not in {"other", "part"}), "other")


def same_device(device: str, accelerator: str) -> bool:
    """Whether a receipt's `device` is a machine with this accelerator, "" for none."""
    if not accelerator or device == "cpu":
        return not accelerator and device == "cpu"
    known = _gpu(accelerator)
    return device == accelerator if known == "other" else _gpu(device) == known


def measured_of(analysed: Sequence[AnalysisReceipt], rendered: Sequence[SegmentReceipt], accelerator: str) -> Measured:
    """What finished segments on machines with this accelerator took.

    A rendered segment's stages run side by side, so that it took at least the longest and at most the sum of them; two
    segments are analysed at a time.
    """
    looks = [one for one in analysed if same_device(one.device, accelerator)]
    renders = [one for one in rendered if same_device(one.device, accelerator) and not one.copied and one.seconds]
    told = []
    analyse = render = None
    if len(looks) >= FEW:
        seconds = [sum(one.seconds.values()) for one in looks]
        spans = [Range(each / IN_FLIGHT, each) for each in seconds]
        analyse = _mean(spans, [float(one.frames) for one in looks])
        told.append(f"{len(looks)} segments of this job's store that were analysed on {looks[0].device}")
    if len(renders) >= FEW:
        spans = [Range(max(one.seconds.values()), sum(one.seconds.values())) for one in renders]
        render = _mean(spans, [float(one.frames + FRAMES_A_FACE * one.faces_replaced) for one in renders])
        told.append(f"{len(renders)} segments of this job's store that were rendered on {renders[0].device}")
    return Measured(analyse, render, tuple(told))


def _mean(spans: Iterable[Range], units: Sequence[float]) -> Range:
    whole = plus(*spans)
    return times(Range(whole.low / sum(units), whole.high / sum(units)), *SPREAD)
