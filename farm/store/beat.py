"""The life of a lock in a folder that machines share, told by its content.

On some shared folders a lock (flock) counts on its own machine alone: NFS mounted with local_lock or nolock, Lustre
with localflock, several FUSE file systems. So the holder writes its name into the lock's file anew every `BEAT_S`. Who
gets the lock and finds the name of another machine's process there watches for `WATCH_S`: where the content changes,
that one lives. Nobody watches where all who see the folder are of one kernel, nor for a process of our own kernel:
there flock tells. And a holder that finds another run's name there has lost the place.

This is no lease: two that come within the same moment both go on until the next of them looks, and nothing fences what
one that was cut off does until it looks. Where flock works it decides alone.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from core.errors import StorageError
from farm.store.holder import Holder, boot_id, is_free, kernel_of, read_holder, this_process, write_holder
from farm.store.mounts import OF_A_PROCESS, OF_ONE_KERNEL, kind_of

BEAT_S = 3.0
WATCH_S = 12.0
POLL_S = 0.5


def lives_elsewhere(lock: Path, say: Callable[[str], None], watch_s: float = WATCH_S, poll_s: float = POLL_S) -> bool:
    """Whether `lock`, which we hold by flock, is held by a process of another machine too; `say` hears of a watch.
    `StorageError` where it cannot be read: nobody knows then."""
    first = _seen(lock)
    holder = read_holder(first)
    if holder is None or is_free(holder) or _flock_tells(lock, holder):
        return False
    node = holder.node or "another machine"
    say(f"looking for {watch_s:g} s whether the driver on {node} that had the lock still runs")
    end_s = time.monotonic() + watch_s
    while time.monotonic() < end_s:
        time.sleep(poll_s)
        if _seen(lock) != first:
            return True
    return False


def no_lock(error: OSError, lock: Path) -> StorageError:
    """Why `lock` is neither ours nor known to be another's: a share that is gone, or one that has no locks."""
    return StorageError(
        f"the folder cannot be locked: {error.strerror or error}",
        where=str(lock.parent),
        hint="see that it is mounted and has locks (flock), or choose another, and run the same command again",
    )


def _flock_tells(lock: Path, holder: Holder) -> bool:
    """Whether `holder` would have the lock by flock, did it live."""
    kind = kind_of(lock)
    ours = kernel_of(boot_id())
    return kind in OF_ONE_KERNEL or (
        bool(ours) and kernel_of(holder.boot) == ours and not kind.startswith(OF_A_PROCESS)
    )


def unheard(_: str) -> None:
    """For who has nobody to tell."""


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


def _seen(lock: Path) -> bytes:
    """As `_content`, none where there is no such file; `StorageError` where it cannot be read."""
    try:
        return lock.read_bytes()
    except FileNotFoundError:  # its holder has ended
        return b""
    except OSError as error:
        raise no_lock(error, lock) from error
