"""The options that say how a film is looked at, the same for `farm analyse` and `farm cast`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farm.cli.film_options import FACES, OnDamage
from farm.paths import place, usable_path

if TYPE_CHECKING:
    from farm.analyse_job import AnalyseSpec


@dataclass(frozen=True)
class LookingOptions:
    """Where what was seen is kept, and by which models; see farm.cli.expand."""

    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            parser=place,
            metavar="PATH",
            help="Folder of the cast, or s3://bucket/prefix (default: TARGET's name, ending .cast, beside it).",
        ),
    ] = None
    detector: Annotated[
        str, typer.Option(rich_help_panel=FACES, help="What finds faces: a detector of `farm models list`.")
    ] = "centerface"
    recogniser: Annotated[
        str, typer.Option(rich_help_panel=FACES, help="What tells people apart: an embedder of `farm models list`.")
    ] = "dlib_resnet"
    detect_every: Annotated[
        int,
        typer.Option(
            rich_help_panel=FACES,
            help="Look at every so manieth frame only; between them faces are interpolated, shorter ones missed.",
        ),
    ] = 1
    on_damage: Annotated[
        OnDamage, typer.Option(help="A damaged film: fail and name the first bad frame, or keep the timeline.")
    ] = OnDamage.fail


def analyse_spec(target: Path, options: LookingOptions) -> AnalyseSpec:
    """What to look at, and the folder to keep it in; paths that cannot be are refused."""
    from farm.analyse_job import AnalyseSpec  # noqa: PLC0415 - other commands start without the media core
    from farm.analysis import Looking  # noqa: PLC0415
    from farm.castdir import default_folder  # noqa: PLC0415

    usable_path(target, "check the path")
    folder = options.output if options.output is not None else default_folder(target)
    return AnalyseSpec(
        target=target,
        folder=usable_path(folder, "name another folder with -o"),
        looking=Looking(options.detector, options.recogniser, options.detect_every),
        on_damage="keep" if options.on_damage is OnDamage.keep else "fail",
    )
