"""A job store that kills the process it is used in, where a test has left a token for it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from farm.artifacts import DiskStore


class MortalStore(DiskStore):
    """Each token, a file in the store's folder `deaths/`, is good for one SIGKILL at its place and order.

    "before": the segment is rendered and nothing of it published. "after": its DONE record is on the disk and
    nobody has been told.
    """

    def adopt(self, temporary: Path, name: str) -> bool:
        self._die("before", name)
        return super().adopt(temporary, name)

    def write(self, name: str, data: bytes) -> bool:
        written = super().write(name, data)
        if name.endswith("DONE.json"):
            self._die("after", name)
        return written

    def plant(self, place: str, order_id: str, count: int) -> None:
        for number in range(count):
            token = self.path(f"deaths/{place}-{order_id}-{number}")
            token.parent.mkdir(parents=True, exist_ok=True)
            token.touch()

    def _die(self, place: str, name: str) -> None:
        order_id = name.split("/")[1] if "/" in name else ""
        for token in sorted(Path(self.root).glob(f"deaths/{place}-{order_id}-*")):
            token.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
