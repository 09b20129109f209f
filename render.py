"""The same job as `farm render`, as one file: what `ray submit cluster.yaml render.py ...` sends to the head node.

The head must have the `face-farm` package installed (pip install .). Arguments are those of `farm render`; on a
cluster add `--address auto` and a `--store` that every node sees.
"""

from __future__ import annotations

import sys

from farm.cli.main import run

if __name__ == "__main__":
    run(["render", *sys.argv[1:]])
