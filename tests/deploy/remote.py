"""What stands where SSH would lead to a machine: `ssh` and `rsync` that write down what was asked and answer as Docker.

Everything before that point is real: Ray's launcher as a process, its provider, boto3, HTTP.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

SCRIPT = """#!{python} -SE
import json, os, shutil, sys
folder = {folder!r}
tool, words = os.path.basename(sys.argv[0]), sys.argv[1:]
with open(folder + "/calls.jsonl", "a") as log:
    log.write(json.dumps([tool, words]) + chr(10))
if tool == "rsync":
    # what travels to a head or worker is kept under its remote name, so that a test can read it
    source, target = words[-2], words[-1]
    if os.path.isfile(source):
        shutil.copy(source, folder + "/" + os.path.basename(target))
    sys.exit(0)
asked = words[-1]
answers = [
    ("command -v docker", "/usr/bin/docker"),
    (".State.Running", "true" if os.path.exists(folder + "/running") else ""),
    (".Config.Env", '["HOME=/home/farm"]'),
    (".Config.Image", ""),
    ("json .Mounts", "[]"),
    ("printenv HOME", "/home/farm"),
    ("info -f", "map[nvidia:{{nvidia-container-runtime [] <nil>}} runc:{{runc [] <nil>}}]"),
    ("/proc/meminfo", "MemAvailable: 32000000 kB"),
]
for part, answer in answers:
    if part in asked:
        print(answer)
        break
"""


def put_tools(folder: Path) -> Path:
    """Write `ssh` and `rsync` into `folder`/bin; that folder."""
    tools = folder / "bin"
    tools.mkdir(parents=True)
    for name in ("ssh", "rsync"):
        tool = tools / name
        tool.write_text(SCRIPT.format(python=sys.executable, folder=str(folder)))
        tool.chmod(0o755)
    return tools


def asked(folder: Path) -> list[tuple[str, str]]:
    """(tool, last words) of every call so far: for ssh the command, for rsync where to."""
    log = folder / "calls.jsonl"
    calls = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [(tool, words[-1]) for tool, words in calls]
