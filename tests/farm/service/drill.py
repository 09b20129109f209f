"""A coordinator in a process of its own, to be killed: `python -m tests.farm.service.drill URL ROOT`."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from farm.service.coordinator import Rhythm
from farm.service.database import open_database
from farm.service.places import ServicePlaces
from farm.settings import Settings
from tests.farm.service.running import Farm

LEASE_S = 2.0
SHORT = Rhythm(tick_s=0.1, tell_s=0.1, clear_s=0.5, lease_ms=int(1000 * LEASE_S))


def start(url: str, root: Path) -> subprocess.Popen[bytes]:
    """Another coordinator of the same table and files."""
    return subprocess.Popen([sys.executable, "-m", __spec__.name if __spec__ else __name__, url, str(root)])


def main(url: str, root: str) -> None:
    with open_database(url) as db:
        farm = Farm(db, ServicePlaces(Path(root)), Settings(cores=2, model_cache=Path("unused")))
        with farm.working(SHORT, most_jobs=3):
            while True:
                time.sleep(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
