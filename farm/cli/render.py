"""`farm render`: make one film."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import typer

from core import codec as json_codec
from core.errors import StorageError
from core.records import EncodeSpec, JobSpec, MaskKind, SourceSpec, SwapOptions
from farm.cli.out import put
from farm.paths import usable_path
from farm.settings import RunOptions, load_settings

FACES, SWAP, BLEND, FILM, RUN = "Faces", "Swap", "Blending", "Film", "How it is run"
SIDES = 4
EPILOGUE = (
    "Environment: FARM_MODEL_CACHE, folder of models; FARM_GPU_MEM_LIMIT, what one model may take of a GPU's memory "
    "(8G); FARM_ENGINE_CACHE, where machines share TensorRT engines; RAY_ADDRESS, the cluster if --address names none."
)


class Select(StrEnum):
    largest = "largest"
    all = "all"


class OnDamage(StrEnum):
    fail = "fail"
    keep = "keep"


class Precision(StrEnum):
    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


class Paste(StrEnum):
    feather = "feather"
    poisson = "poisson"
    multiband = "multiband"


class ColourMatch(StrEnum):
    none = "none"
    mean = "mean"
    histogram = "histogram"
    light = "light"


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    tensorrt = "tensorrt"


def seconds(text: str) -> Fraction:
    """An exact number of seconds: 10, 1.5 or 1001/30."""
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(f"{text!r} is not a number of seconds, write 10, 1.5 or 1001/30") from None
    if value < 0:
        raise typer.BadParameter("a segment cannot be shorter than nothing, write 0 for one a keyframe")
    return value


def mask_kinds(text: str) -> tuple[MaskKind, ...]:
    """The masks of a list with commas, each once."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    known = get_args(MaskKind)
    if not names or not set(names) <= set(known):
        raise typer.BadParameter(f"--masks {text!r}: write one or more of {', '.join(known)}, with commas")
    return cast("tuple[MaskKind, ...]", names)


def padding(text: str) -> tuple[float, float, float, float]:
    """One number for all sides, or four: top, right, bottom, left."""
    try:
        parts = [float(part) for part in text.split(",")]
    except ValueError:
        parts = []
    if len(parts) == 1:
        parts *= SIDES
    if len(parts) != SIDES or not all(0 <= part < 1 for part in parts):
        raise typer.BadParameter(f"--mask-padding {text!r}: write 0.1, or four such numbers: top,right,bottom,left")
    return (parts[0], parts[1], parts[2], parts[3])


def render(
    target: Annotated[Path, typer.Argument(help="The film.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The film to make; its ending says the container.")],
    source: Annotated[
        list[Path] | None,
        typer.Option(
            "--source",
            rich_help_panel=FACES,
            help="An image with the face to put in. Given again: more images or short films of the same person.",
        ),
    ] = None,
    source_face: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=FACES, help="Which face of the (first) image, counted from the left."),
    ] = None,
    select: Annotated[
        Select, typer.Option(rich_help_panel=FACES, help="Which faces are replaced: the largest of each frame, or all.")
    ] = Select.largest,
    detector: Annotated[
        str, typer.Option(rich_help_panel=FACES, help="What finds faces: a detector of `farm models list`.")
    ] = "centerface",
    swapper: Annotated[
        str,
        typer.Option(
            rich_help_panel=SWAP,
            help="mesh, a swapper of `farm models list`, or none, which sends every frame through unchanged.",
        ),
    ] = "mesh",
    boost: Annotated[
        int, typer.Option(min=1, max=8, rich_help_panel=SWAP, help="Crops of this many times the model's side.")
    ] = 1,
    strength: Annotated[
        float, typer.Option(min=0, max=1, rich_help_panel=SWAP, help="0 the target's own identity, 1 the source's.")
    ] = 1.0,
    precision: Annotated[
        Precision, typer.Option(rich_help_panel=SWAP, help="Of the swapper's and the enhancer's weights.")
    ] = Precision.fp32,
    enhancer: Annotated[
        str | None, typer.Option(rich_help_panel=SWAP, help="A restorer of `farm models list`, run on the new faces.")
    ] = None,
    enhancer_blend: Annotated[
        float, typer.Option(min=0, max=1, rich_help_panel=SWAP, help="How much of the enhancer's face is taken.")
    ] = 0.8,
    enhancer_may_go: Annotated[
        bool,
        typer.Option(
            "--enhancer-may-go",
            rich_help_panel=SWAP,
            help="Where memory runs short at last, leave the enhancer out instead of failing; the report says where.",
        ),
    ] = False,
    masks: Annotated[
        str,
        typer.Option(rich_help_panel=BLEND, help="Where the new face goes: box, hull, occlusion, region, with commas."),
    ] = "box",
    mask_blur: Annotated[
        float, typer.Option(min=0, max=1, rich_help_panel=BLEND, help="Softness of the mask, in parts of the crop.")
    ] = 0.3,
    mask_padding: Annotated[
        str,
        typer.Option(rich_help_panel=BLEND, help="Kept free at the crop's sides: all, or top,right,bottom,left."),
    ] = "0",
    occlusion_model: Annotated[
        str, typer.Option(rich_help_panel=BLEND, help="The network of the mask occlusion, of `farm models list`.")
    ] = SwapOptions.occlusion_model,
    region_model: Annotated[
        str, typer.Option(rich_help_panel=BLEND, help="The network of the mask region, of `farm models list`.")
    ] = SwapOptions.region_model,
    paste: Annotated[
        Paste, typer.Option(rich_help_panel=BLEND, help="How the new face is laid into the frame.")
    ] = Paste.feather,
    colour: Annotated[
        ColourMatch, typer.Option(rich_help_panel=BLEND, help="How the new face takes the target's colours.")
    ] = ColourMatch.none,
    codec: Annotated[
        str | None,
        typer.Option(rich_help_panel=FILM, help="h264, hevc, av1, vp9, prores or ffv1 (default: the film's own)."),
    ] = None,
    crf: Annotated[
        int | None,
        typer.Option(rich_help_panel=FILM, help="Constant quality, lower is better (default: the encoder's)."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(rich_help_panel=FILM, help="The encoder's preset, e.g. veryfast.")
    ] = None,
    on_damage: Annotated[
        OnDamage,
        typer.Option(
            rich_help_panel=FILM, help="A damaged film: fail and name the first bad frame, or keep the timeline."
        ),
    ] = OnDamage.fail,
    segment_seconds: Annotated[
        str, typer.Option(rich_help_panel=RUN, help="Least length of a segment; 0 makes one a keyframe.")
    ] = "10",
    workers: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=RUN, help="Renderers (default: one a GPU, else what the cores can feed)."),
    ] = None,
    device: Annotated[
        Device,
        typer.Option(rich_help_panel=RUN, help="Where models run; auto takes the best that works, others insist."),
    ] = Device.auto,
    address: Annotated[
        str | None,
        typer.Option(rich_help_panel=RUN, help="A running Ray cluster, or auto (default: one of this run's own)."),
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", rich_help_panel=RUN, help="Run in this process, without Ray.")
    ] = False,
    store: Annotated[
        Path | None,
        typer.Option(rich_help_panel=RUN, help="Folder for the job's state (default: OUTPUT.farm, beside the output)."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", rich_help_panel=RUN, help="Keep the state after success.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error below its line.")] = False,
) -> None:
    """Render TARGET with the face of --source into OUTPUT. Run the same command again to resume."""
    del debug  # farm.cli.main reads it
    if local and address:
        raise typer.BadParameter("--local and --address exclude each other")
    kinds = mask_kinds(masks)
    for role, name in (("occlusion", occlusion_model), ("region", region_model)):
        if role not in kinds and name != getattr(SwapOptions, f"{role}_model"):
            raise typer.BadParameter(f"--{role}-model needs --masks with {role}")
    if enhancer_may_go and enhancer is None:
        raise typer.BadParameter("--enhancer-may-go needs --enhancer")
    usable_path(target, "check the path")
    usable_path(output, "choose another with -o")
    for path in source or []:
        usable_path(path, "check the path")
    if store is not None:
        usable_path(store, "choose another with --store")
    spec = JobSpec(
        target=str(target),
        output=str(output),
        source=source_spec(source or [], source_face),
        swapper=swapper,
        swap=SwapOptions(
            boost=boost,
            strength=strength,
            masks=kinds,
            mask_blur=mask_blur,
            mask_padding=padding(mask_padding),
            occlusion_model=occlusion_model,
            region_model=region_model,
            paste=paste.value,
            colour=colour.value,
            enhancer=enhancer,
            enhancer_blend=enhancer_blend,
            enhancer_may_go=enhancer_may_go,
            precision=precision.value,
        ),
        detector=detector,
        select=picked(select),
        encode=EncodeSpec(codec, crf, preset),
        segment_s=seconds(segment_seconds),
        on_damage="keep" if on_damage is OnDamage.keep else "fail",
    )
    run = RunOptions(local=local, workers=workers, address=address, store=store, keep=keep, device=device.value)
    carry_out(spec, run, as_json=json)


def carry_out(spec: JobSpec, run: RunOptions, *, as_json: bool) -> None:
    """Run the job, with progress, notes and the summary on stderr and the report on stdout.

    `StorageError` where stdout does not take the report; the film is published then.
    """
    from farm.driver import run_job  # noqa: PLC0415 - other commands start without the media core
    from farm.progress import StderrProgress  # noqa: PLC0415
    from farm.report import summary  # noqa: PLC0415

    progress = StderrProgress(sys.stderr)
    try:
        # Ray prints notices of dead workers on stdout, whatever its log settings; stdout is for the report alone.
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            report = run_job(spec, run, load_settings(), progress)
    finally:
        progress.close()
    for note in report.notes:
        sys.stderr.write(f"farm: note: {note}\n")
    sys.stderr.write(f"farm: {summary(report)}\n")
    if not as_json:
        return
    try:
        put(json_codec.encode(report).decode() + "\n")
    except StorageError as error:
        raise StorageError(
            f"the film is finished and verified, but not its report: {error.what}",
            where=spec.output,
            hint="it needs no second run",
        ) from error


def source_spec(paths: Sequence[Path], face: int | None) -> SourceSpec | None:
    """The person to put in: the first path is the image, the others show more of the same person."""
    if not paths:
        if face:
            raise typer.BadParameter("--source-face needs --source")
        return None
    return SourceSpec(str(paths[0]), face, tuple(str(path) for path in paths[1:]))


def picked(select: Select) -> Literal["largest", "all"]:
    return "all" if select is Select.all else "largest"
