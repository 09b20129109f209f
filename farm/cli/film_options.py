"""The options that say what is made, the same for `farm render` and for what is sent to a service."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from core.records import EncodeSpec, JobSpec, SwapOptions
from farm.cli.parse import check_cast, mask_kinds, padding, seconds, selection, source_spec
from farm.cli.running import RUN
from farm.paths import place, usable_path

FACES, SWAP, BLEND, FILM = "Faces", "Swap", "Blending", "Film"


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


@dataclass(frozen=True)
class FilmOptions:
    """Who becomes whom, by what, and how the film is written; see farm.cli.expand."""

    source: Annotated[
        list[Path] | None,
        typer.Option(
            "--source",
            parser=place,
            metavar="PATH",
            rich_help_panel=FACES,
            help="An image with the face to put in. Given again: more images or short films of the same person.",
        ),
    ] = None
    source_face: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=FACES, help="Which face of the (first) image, counted from the left."),
    ] = None
    select: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=FACES,
            help="Which faces are replaced: largest of each frame (the default), all, or reference:IMAGE, those of the "
            "person in that image.",
        ),
    ] = None
    cast: Annotated[
        Path | None,
        typer.Option(
            parser=place,
            metavar="PATH",
            rich_help_panel=FACES,
            help="A cast.toml of `farm cast`: who becomes whom, instead of --source and --select. Options of the swap "
            "are for those who set none there.",
        ),
    ] = None
    min_face: Annotated[
        float,
        typer.Option(
            min=0,
            rich_help_panel=FACES,
            help="Leave faces as they are that are mostly smaller, in pixels a side: by the median from where a face "
            "comes into sight to where it is lost, so that the choice does not flicker.",
        ),
    ] = 0.0
    detector: Annotated[
        str,
        typer.Option(
            rich_help_panel=FACES,
            help="What finds faces: a detector of `farm models list`. Beside --cast: in pictures of sources alone.",
        ),
    ] = JobSpec.detector
    recogniser: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=FACES,
            show_default=JobSpec.recogniser,
            help="What tells people apart: an embedder of `farm models list`. Not beside --cast.",
        ),
    ] = None
    detect_every: Annotated[
        int | None,
        typer.Option(
            min=1,
            rich_help_panel=FACES,
            show_default=str(JobSpec.detect_every),
            help="Look for faces in one frame of so many; between them they are filled in. Not beside --cast.",
        ),
    ] = None
    swapper: Annotated[
        str,
        typer.Option(
            rich_help_panel=SWAP,
            help="mesh, a swapper of `farm models list`, or none, which sends every frame through unchanged.",
        ),
    ] = "mesh"
    boost: Annotated[
        int, typer.Option(min=1, max=8, rich_help_panel=SWAP, help="Crops of this many times the model's side.")
    ] = 1
    strength: Annotated[
        float, typer.Option(min=0, max=1, rich_help_panel=SWAP, help="0 the target's own identity, 1 the source's.")
    ] = 1.0
    precision: Annotated[
        Precision, typer.Option(rich_help_panel=SWAP, help="Of the swapper's and the enhancer's weights.")
    ] = Precision.fp32
    enhancer: Annotated[
        str | None, typer.Option(rich_help_panel=SWAP, help="A restorer of `farm models list`, run on the new faces.")
    ] = None
    enhancer_blend: Annotated[
        float, typer.Option(min=0, max=1, rich_help_panel=SWAP, help="How much of the enhancer's face is taken.")
    ] = 0.8
    enhancer_weight: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            rich_help_panel=SWAP,
            help="Of enhancers with such an input (codeformer): 0 the most beautiful face, 1 the most faithful one.",
        ),
    ] = SwapOptions.enhancer_weight
    enhancer_may_go: Annotated[
        bool,
        typer.Option(
            "--enhancer-may-go",
            rich_help_panel=SWAP,
            help="Where memory runs short at last, leave the enhancer out instead of failing; the report says where.",
        ),
    ] = False
    masks: Annotated[
        str,
        typer.Option(rich_help_panel=BLEND, help="Where the new face goes: box, hull, occlusion, region, with commas."),
    ] = "box"
    mask_blur: Annotated[
        float, typer.Option(min=0, max=1, rich_help_panel=BLEND, help="Softness of the mask, in parts of the crop.")
    ] = 0.3
    mask_padding: Annotated[
        str,
        typer.Option(rich_help_panel=BLEND, help="Kept free at the crop's sides: all, or top,right,bottom,left."),
    ] = "0"
    occlusion_model: Annotated[
        str, typer.Option(rich_help_panel=BLEND, help="The network of the mask occlusion, of `farm models list`.")
    ] = SwapOptions.occlusion_model
    region_model: Annotated[
        str, typer.Option(rich_help_panel=BLEND, help="The network of the mask region, of `farm models list`.")
    ] = SwapOptions.region_model
    paste: Annotated[Paste, typer.Option(rich_help_panel=BLEND, help="How the new face is laid into the frame.")] = (
        Paste.feather
    )
    colour: Annotated[
        ColourMatch, typer.Option(rich_help_panel=BLEND, help="How the new face takes the target's colours.")
    ] = ColourMatch.none
    codec: Annotated[
        str | None,
        typer.Option(rich_help_panel=FILM, help="h264, hevc, av1, vp9, prores or ffv1 (default: the film's own)."),
    ] = None
    crf: Annotated[
        int | None,
        typer.Option(rich_help_panel=FILM, help="Constant quality, lower is better (default: the encoder's)."),
    ] = None
    preset: Annotated[str | None, typer.Option(rich_help_panel=FILM, help="The encoder's preset, e.g. veryfast.")] = (
        None
    )
    smart: Annotated[
        bool,
        typer.Option(
            "--smart/--no-smart",
            rich_help_panel=FILM,
            help="Copy the film's own packets where nobody is replaced and the codec allows it, instead of encoding.",
        ),
    ] = True
    on_damage: Annotated[
        OnDamage,
        typer.Option(
            rich_help_panel=FILM, help="A damaged film: fail and name the first bad frame, or keep the timeline."
        ),
    ] = OnDamage.fail
    segment_seconds: Annotated[
        str, typer.Option(rich_help_panel=RUN, help="About how long a segment is; 0 makes one a keyframe.")
    ] = "10"


def job_spec(target: Path, output: Path, options: FilmOptions, *, analysed: bool = True) -> JobSpec:
    """What is asked for, checked as far as it can be without opening a file. `analysed`: beside a cast there is its
    analysis, so that nothing says anew how faces are looked for."""
    kinds = mask_kinds(options.masks)
    for role, name in (("occlusion", options.occlusion_model), ("region", options.region_model)):
        if role not in kinds and name != getattr(SwapOptions, f"{role}_model"):
            raise typer.BadParameter(f"--{role}-model needs --masks with {role}")
    if not options.min_face < float("inf"):
        raise typer.BadParameter(f"--min-face {options.min_face}: write a number of pixels")
    chosen, reference = selection(options.select)
    check_cast(
        options.cast,
        options.swapper,
        people={"--source": options.source, "--source-face": options.source_face, "--select": options.select},
        looking={"--detect-every": options.detect_every, "--recogniser": options.recogniser} if analysed else {},
    )
    if options.enhancer is None and options.cast is None:
        if options.enhancer_may_go:
            raise typer.BadParameter("--enhancer-may-go needs --enhancer")
        if options.enhancer_weight != SwapOptions.enhancer_weight:
            raise typer.BadParameter("--enhancer-weight needs --enhancer")
    usable_path(target, "check the path")
    usable_path(output, "choose another with -o")
    named = [*(options.source or []), *(place(name) for name in (reference,) if name)]
    for path in [*named, *([options.cast] if options.cast is not None else [])]:
        usable_path(path, "check the path")
    return JobSpec(
        target=str(target),
        output=str(output),
        source=source_spec(options.source or [], options.source_face),
        swapper=options.swapper,
        swap=SwapOptions(
            boost=options.boost,
            strength=options.strength,
            masks=kinds,
            mask_blur=options.mask_blur,
            mask_padding=padding(options.mask_padding),
            occlusion_model=options.occlusion_model,
            region_model=options.region_model,
            paste=options.paste.value,
            colour=options.colour.value,
            enhancer=options.enhancer,
            enhancer_blend=options.enhancer_blend,
            enhancer_may_go=options.enhancer_may_go,
            enhancer_weight=options.enhancer_weight,
            precision=options.precision.value,
        ),
        detector=options.detector,
        recogniser=JobSpec.recogniser if options.recogniser is None else options.recogniser,
        detect_every=JobSpec.detect_every if options.detect_every is None else options.detect_every,
        select=chosen,
        reference=reference,
        cast=str(options.cast) if options.cast is not None else None,
        least_face_px=options.min_face,
        smart=options.smart,
        encode=EncodeSpec(options.codec, options.crf, options.preset),
        segment_s=seconds(options.segment_seconds),
        on_damage="keep" if options.on_damage is OnDamage.keep else "fail",
    )
