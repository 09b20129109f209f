"""The same job as `farm render`, as one file: what `ray submit cluster.yaml render.py -- ...` sends to the head node.

The head must have the `face-farm` package installed (pip install .). Arguments are those of `farm render`, or
`--job FILE` with all of them in a file: `ray submit` joins arguments without quoting, so that names with spaces, quotes
or other characters of the shell must come in a file. On a cluster add `--address auto` and a `--store` that every node
sees. docs/launching.md shows it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from farm.cli.main import run

JOB = "--job"


def command(arguments: Sequence[str]) -> list[str]:
    """The command of `farm` that the script's arguments mean."""
    for at, argument in enumerate(arguments):
        if argument == JOB:
            return ["job", *arguments[:at], *arguments[at + 1 :]]
        if argument.startswith(f"{JOB}="):
            return ["job", *arguments[:at], argument.removeprefix(f"{JOB}="), *arguments[at + 1 :]]
    return ["render", *arguments]


if __name__ == "__main__":
    run(command(sys.argv[1:]))
