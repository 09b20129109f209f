"""`farm render`: make one film."""

from __future__ import annotations

import contextlib
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from core import codec as json_codec
from core.errors import StorageError
from core.records import EncodeSpec, JobSpec, SwapOptions
from farm.cli.out import put
from farm.cli.parse import check_cast, mask_kinds, padding, seconds, selection, source_spec
from farm.cli.running import RUN, Address, Device, Local, RunsOn, Workers
from farm.paths import place, usable_path
from farm.settings import RunOptions, load_settings

FACES, SWAP, BLEND, FILM = "Faces", "Swap", "Blending", "Film"
EPILOGUE = (
    "Environment: FARM_MODEL_CACHE, folder of models; FARM_GPU_MEM_LIMIT, what one model may take of a GPU's memory "
    "(8G); FARM_ENGINE_CACHE, where machines share TensorRT engines; RAY_ADDRESS, the cluster if --address names none."
)


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


def render(
    target: Annotated[Path, typer.Argument(parser=place, metavar="TARGET", help="The film, a file or s3://.")],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", parser=place, metavar="PATH", help="The film to make; its ending says the container."
        ),
    ],
    source: Annotated[
        list[Path] | None,
        typer.Option(
            "--source",
            parser=place,
            metavar="PATH",
            rich_help_panel=FACES,
            help="An image with the face to put in. Given again: more images or short films of the same person.",
        ),
    ] = None,
    source_face: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=FACES, help="Which face of the (first) image, counted from the left."),
    ] = None,
    select: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=FACES,
            help="Which faces are replaced: largest of each frame (the default), all, or reference:IMAGE, those of the "
            "person in that image.",
        ),
    ] = None,
    cast: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=FACES,
            help="A cast.toml of `farm cast`: who becomes whom, instead of --source and --select. Options of the swap "
            "are for those who set none there.",
        ),
    ] = None,
    min_face: Annotated[
        float,
        typer.Option(
            min=0,
            rich_help_panel=FACES,
            help="Leave faces as they are that are mostly smaller, in pixels a side: by the median from where a face "
            "comes into sight to where it is lost, so that the choice does not flicker.",
        ),
    ] = 0.0,
    detector: Annotated[
        str,
        typer.Option(
            rich_help_panel=FACES,
            help="What finds faces: a detector of `farm models list`. Beside --cast: in pictures of sources alone.",
        ),
    ] = JobSpec.detector,
    recogniser: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=FACES,
            show_default=JobSpec.recogniser,
            help="What tells people apart: an embedder of `farm models list`. Not beside --cast.",
        ),
    ] = None,
    detect_every: Annotated[
        int | None,
        typer.Option(
            min=1,
            rich_help_panel=FACES,
            show_default=str(JobSpec.detect_every),
            help="Look for faces in one frame of so many; between them they are filled in. Not beside --cast.",
        ),
    ] = None,
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
    enhancer_weight: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            rich_help_panel=SWAP,
            help="Of enhancers with such an input (codeformer): 0 the most beautiful face, 1 the most faithful one.",
        ),
    ] = SwapOptions.enhancer_weight,
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
    smart: Annotated[
        bool,
        typer.Option(
            "--smart/--no-smart",
            rich_help_panel=FILM,
            help="Copy the film's own packets where nobody is replaced and the codec allows it, instead of encoding.",
        ),
    ] = True,
    on_damage: Annotated[
        OnDamage,
        typer.Option(
            rich_help_panel=FILM, help="A damaged film: fail and name the first bad frame, or keep the timeline."
        ),
    ] = OnDamage.fail,
    segment_seconds: Annotated[
        str, typer.Option(rich_help_panel=RUN, help="About how long a segment is; 0 makes one a keyframe.")
    ] = "10",
    workers: Workers = None,
    device: RunsOn = Device.auto,
    address: Address = None,
    local: Local = False,
    store: Annotated[
        Path | None,
        typer.Option(
            parser=place,
            metavar="PATH",
            rich_help_panel=RUN,
            help="Folder, or s3://bucket/prefix, for the job's state (default: OUTPUT.farm, beside the output).",
        ),
    ] = None,
    quality: Annotated[
        bool,
        typer.Option(
            "--quality", rich_help_panel=FILM, help="Measure how good the faces are; the page is OUTPUT.quality/."
        ),
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", rich_help_panel=RUN, help="Keep the state after success.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error below its line.")] = False,
) -> None:
    """Render TARGET with the face of --source, or by a --cast, into OUTPUT. Run the same command again to resume."""
    del debug  # farm.cli.main reads it
    if local and address:
        raise typer.BadParameter("--local and --address exclude each other")
    kinds = mask_kinds(masks)
    for role, name in (("occlusion", occlusion_model), ("region", region_model)):
        if role not in kinds and name != getattr(SwapOptions, f"{role}_model"):
            raise typer.BadParameter(f"--{role}-model needs --masks with {role}")
    if not min_face < float("inf"):
        raise typer.BadParameter(f"--min-face {min_face}: write a number of pixels")
    chosen, reference = selection(select)
    check_cast(
        cast,
        swapper,
        people={"--source": source, "--source-face": source_face, "--select": select},
        looking={"--detect-every": detect_every, "--recogniser": recogniser},
    )
    if enhancer is None and cast is None:
        if enhancer_may_go:
            raise typer.BadParameter("--enhancer-may-go needs --enhancer")
        if enhancer_weight != SwapOptions.enhancer_weight:
            raise typer.BadParameter("--enhancer-weight needs --enhancer")
    usable_path(target, "check the path")
    usable_path(output, "choose another with -o")
    for path in [*(source or []), *(place(name) for name in (reference,) if name), *([cast] if cast else [])]:
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
            enhancer_weight=enhancer_weight,
            precision=precision.value,
        ),
        detector=detector,
        recogniser=JobSpec.recogniser if recogniser is None else recogniser,
        detect_every=JobSpec.detect_every if detect_every is None else detect_every,
        select=chosen,
        reference=reference,
        cast=str(cast) if cast is not None else None,
        least_face_px=min_face,
        smart=smart,
        encode=EncodeSpec(codec, crf, preset),
        segment_s=seconds(segment_seconds),
        on_damage="keep" if on_damage is OnDamage.keep else "fail",
    )
    run = RunOptions(
        local=local,
        workers=workers,
        address=address,
        store=store,
        keep=keep,
        device=device.value,
        quality=quality,
    )
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
        if note not in progress.told:
            sys.stderr.write(f"farm: note: {note}\n")
    sys.stderr.write(f"farm: {summary(report)}\n")
    if report.quality is not None:
        sys.stderr.write(f"farm: how good it is: {report.quality}\n")
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
