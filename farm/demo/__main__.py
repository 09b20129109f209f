"""Make the demo film, put the astronaut's face into it, and lay before and after side by side.

python -m farm.demo --out out
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2

from farm.demo.film import astronaut, write_film
from farm.demo.sheet import contact_sheet


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m farm.demo", description="Render the demo film into a folder.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for demo.mp4 and demo.png")
    parser.add_argument("--film-only", action="store_true", help="make the target film and the source image, no more")
    options = parser.parse_args(arguments)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    target, source, result = out / "demo-target.mp4", out / "astronaut.png", out / "demo.mp4"
    cv2.imwrite(str(source), astronaut()[..., ::-1])
    write_film(target)
    if options.film_only:
        return 0
    command = ["render", str(target), "--source", str(source), "-o", str(result), "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "farm.cli.main", *command, "--segment-seconds", "1.5", "--json"],
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        return done.returncode
    contact_sheet(target, result, out / "demo.png")
    (out / "demo.json").write_bytes(done.stdout)
    from farm.report import print_report  # noqa: PLC0415 - needs nothing of the above

    print_report(done.stdout)
    print(f"film: {result}\nbefore and after: {out / 'demo.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
