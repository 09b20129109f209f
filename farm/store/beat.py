"""The life of a lock in a folder that machines share, told by its content.

On some shared folders a lock (flock) counts on its own machine alone: NFS mounted with local_lock or nolock, Lustre
with localflock, several FUSE file systems. So the holder writes its name into the lock's file anew every `BEAT_S`. Who
gets the lock and finds the name of another machine's process there watches for `WATCH_S`: where the content changes,
that one lives. And a holder that finds another run's name there has lost the place.

This is no lease: two that come within the same moment both go on until the next of them looks, and nothing fences what
one that was cut off does until it looks. Where flock works it decides alone.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from farm.store.holder import Holder, boot_id, is_free, read_holder, this_process, write_holder

BEAT_S = 3.0
WATCH_S = 12.0
POLL_S = 0.5


def lives_elsewhere(lock: Path, watch_s: float = WATCH_S, poll_s: float = POLL_S) -> bool:
    """Whether `lock`, which we hold by flock, is held by a process of another machine too."""
    first = _content(lock)
    holder = read_holder(first)
    if holder is None or is_free(holder) or holder.boot == boot_id():
        return False
    end_s = time.monotonic() + watch_s
    while time.monotonic() < end_s:
        time.sleep(poll_s)
        if _content(lock) != first:
            return True
    return False


def named(lock: Path) -> Holder | None:
    """Who the file `lock` names; None where nobody, or where it cannot be read."""
    return read_holder(_content(lock))


class Beat:
    """Writes the name of run `token` into the open file `handle` of `lock` until `stop`, or until another is there."""

    def __init__(self, lock: Path, handle: int, token: str, *, beat_s: float = BEAT_S) -> None:
        self._lock, self._handle, self._token, self._beat_s = lock, handle, token, beat_s
        self._nonce = 0
        self._over = threading.Event()
        with suppress(OSError):  # who looks on is told less
            os.ftruncate(handle, 0)  # a driver that was killed left its name
            self._write()
        self._thread = threading.Thread(target=self._go_on, name="store beat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write no more, and take our name away."""
        self._over.set()
        self._thread.join()
        with suppress(OSError):
            if self._is_ours():
                os.ftruncate(self._handle, 0)

    def _go_on(self) -> None:
        while not self._over.wait(self._beat_s):
            with suppress(OSError):  # the folder's server may be away for a while
                if not self._is_ours():
                    return
                self._write()

    def _is_ours(self) -> bool:
        holder = named(self._lock)
        return holder is None or holder.token == self._token

    def _write(self) -> None:
        self._nonce += 1
        os.pwrite(self._handle, write_holder(this_process(self._token, 0), self._nonce), 0)
        os.fsync(self._handle)  # else other machines see it when it pleases this one's cache


def _content(lock: Path) -> bytes:
    """The content of `lock`, opened anew: that is when a file system of the network asks its server."""
    try:
        return lock.read_bytes()
    except OSError:
        return b""
