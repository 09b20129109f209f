"""Make the demo film, find out who is in it, give each the other one's face, and lay before and after side by side.

python -m farm.demo --out out
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import cv2

from farm.demo.film import astronaut, carphone_frames, write_film
from farm.demo.sheet import contact_sheet

FRONTAL_S = 0.5  # when the man of the clip faces the camera


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m farm.demo", description="Render the demo film into a folder.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for demo.mp4, demo.png and demo.cast/")
    parser.add_argument("--film-only", action="store_true", help="make the target film and the source images, no more")
    options = parser.parse_args(arguments)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    target, result, cast = out / "demo-target.mp4", out / "demo.mp4", out / "demo.cast"
    faces = {"astronaut": out / "astronaut.png", "carphone": out / "carphone.png"}
    cv2.imwrite(str(faces["astronaut"]), astronaut()[..., ::-1])
    cv2.imwrite(str(faces["carphone"]), carphone_frames()[round(FRONTAL_S * 30)][..., ::-1])
    write_film(target)
    if options.film_only:
        return 0
    known = [word for name, path in faces.items() for word in ("--known", f"{name}={path}")]
    if code := farm("cast", target, "-o", cast, "--force", "--local", *known):
        return code
    exchange(cast / "cast.toml", faces)
    report = out / "demo.json"
    options_of_job = ("--workers", "2", "--segment-seconds", "1.5", "--json")
    with report.open("wb") as file:
        code = farm("render", target, "--cast", cast / "cast.toml", "-o", result, *options_of_job, out=file)
    if code:
        return code
    contact_sheet(target, result, out / "demo.png")
    from farm.report import print_report  # noqa: PLC0415 - needs nothing of the above

    print_report(report.read_bytes())
    print(f"film: {result}\nbefore and after: {out / 'demo.png'}\nwho is who: {cast / 'index.html'}")
    return 0


def farm(*words: str | Path, out: IO[bytes] | None = None) -> int:
    """Run the command; its exit code."""
    command = [sys.executable, "-m", "farm.cli.main", *map(str, words)]
    return subprocess.run(command, stdout=out, check=False).returncode


def exchange(cast: Path, faces: Mapping[str, Path]) -> None:
    """Do what a person does in an editor: write into the cast whose face each gets, here the other one's."""
    names = list(faces)
    other = dict(zip(names, names[::-1], strict=True))
    blocks = cast.read_text().split("[[people]]\n")
    for number, block in enumerate(blocks):
        for name in names:
            if f'\nname = "{name}"\n' in block:
                source = Path("..") / faces[other[name]].name
                blocks[number] = block.replace('\nsource = ""', f'\nsource = "{source}"')
    cast.write_text("[[people]]\n".join(blocks))


if __name__ == "__main__":
    sys.exit(main())
