"""One driver at a place in a bucket: an object that is renewed while its holder lives, with an epoch.

The lock is taken where there is none, where its holder gave it back, where it was not renewed for `lease_s`, and at
once where its holder was a process of this machine that is gone. Ages are by the server's clock, or by how long it was
seen unchanged from here; no two machines' clocks are compared. Each holder has the epoch after the last one's.

On a server without conditional replacement the lock is Fischer's where one is there already: put, wait longer than any
put takes, look whether it is still ours. It holds as long as a put takes less than `settle_s`; with conditional puts
nothing is assumed.

A holder that was stopped (a machine that sleeps, a debugger, a swapping host) does not know that others took the lock
meanwhile, and its renewing thread wakes no sooner than the rest of it. So `check` asks the bucket itself when the last
renewal is longer ago than renewals ever are apart.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from contextlib import suppress

from core.errors import StorageError
from farm.store.bucket import FRESH, Bucket
from farm.store.heads import Head
from farm.store.holder import Holder, is_free, read_holder, run_of, this_process, write_holder
from farm.store.refusals import Conflict, Missing

LEASE_S = 12.0
POLL_S = 0.5
SETTLE_S = 3.0


class Lease:
    """The lock at `key`. `epoch` is 0 while it is not held."""

    def __init__(
        self, bucket: Bucket, key: str, *, lease_s: float = LEASE_S, poll_s: float = POLL_S, settle_s: float = SETTLE_S
    ) -> None:
        self.epoch = 0
        self._bucket, self._key = bucket, key
        self._lease_s, self._poll_s, self._settle_s = lease_s, poll_s, settle_s
        self._token, self._etag = secrets.token_hex(16), ""
        self._lost = False
        self._nonce, self._renewed_s = 0, 0.0
        self._renewing = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def run(self) -> str:
        """What its holder is called."""
        return run_of(self._token)

    def take(self) -> bool:
        """Take the lock; False where somebody holds it who lives."""
        seen, since_s = "", time.monotonic()
        while True:
            found = self._bucket.get(self._key)
            if found is None:
                if self._put(1, FRESH):
                    break
                continue
            holder, head = read_holder(found[0]), found[1]
            if seen and head.etag != seen:
                return False  # renewed, or taken, while we looked
            still_s = time.monotonic() - since_s if seen else 0.0
            if not seen:
                seen, since_s = head.etag, time.monotonic()
            if is_free(holder) or max(still_s, head.age_s) > self._lease_s:
                if self._put(holder.epoch + 1 if holder else 1, {"IfMatch": head.etag}):
                    break
                return False
            time.sleep(self._poll_s)
        self._thread = threading.Thread(target=self._renew, name="store lease", daemon=True)
        self._thread.start()
        return True

    def check(self) -> None:
        """`StorageError` where another run has the lock by now, or that cannot be asked after a long silence."""
        if self.epoch and not self._over.is_set() and not self._lost and self._late():
            with self._renewing:
                if self._late():  # the other thread may just have done it
                    self._renew_once()
        if self._lost:
            raise StorageError(
                "another run took this job over",
                where=self._bucket.where(self._key),
                hint="this one was not heard of for too long; let the other one finish",
            )

    def give_back(self) -> None:
        """Let go. The epoch stays where the lock still is: the next holder has the one after it."""
        self._stop()
        with suppress(StorageError):  # a lock that cannot be given back now runs out
            if not self._lost and self._head_is_ours():
                free = Holder("", self.epoch, "", "", 0)
                condition = {"IfMatch": self._etag} if self._bucket.matching else None
                self._bucket.put(self._key, write_holder(free), condition)

    def remove(self) -> None:
        """Let go, and leave no lock behind."""
        self._stop()
        if not self._lost and self._head_is_ours():
            self._bucket.delete([self._key])

    def _stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _put(self, epoch: int, condition: Mapping[str, str]) -> bool:
        """Make the lock ours with `epoch`; False where somebody else was first."""
        data = write_holder(this_process(self._token, epoch))
        begun_s = now_s()
        try:
            if self._bucket.conditional if condition is FRESH else self._bucket.matching:
                self._etag = self._bucket.put(self._key, data, condition)
            else:
                self._etag = self._bucket.put(self._key, data)
                time.sleep(self._settle_s)
                if not self._head_is_ours():
                    return False
        except (Conflict, Missing):
            return False
        self.epoch, self._renewed_s = epoch, begun_s
        return True

    def _head_is_ours(self) -> bool:
        head: Head | None = self._bucket.head(self._key)
        return head is not None and head.etag == self._etag

    def _late(self) -> bool:
        """Whether a renewal was left out: by the time the lease is over, somebody may have the lock."""
        return now_s() - self._renewed_s > self._lease_s / 2

    def _renew(self) -> None:
        """Put the lock anew until it is given back. One that another took is lost."""
        while not self._lost and not self._over.wait(self._lease_s / 4):
            # the line may be broken for a while
            with suppress(StorageError), self._renewing:
                self._renew_once()

    def _renew_once(self) -> None:
        """Put the lock anew, or find that it is lost. With `_renewing` held."""
        self._nonce += 1
        data = write_holder(this_process(self._token, self.epoch), self._nonce)
        begun_s = now_s()
        try:
            if self._bucket.matching:
                self._etag = self._bucket.put(self._key, data, {"IfMatch": self._etag})
            elif self._head_is_ours():
                self._etag = self._bucket.put(self._key, data)
            else:
                self._lost = True
        except (Conflict, Missing):
            self._lost = not self._still_named()
        self._renewed_s = begun_s

    def _still_named(self) -> bool:
        """Whether the lock is ours in a version that we were not told of: the answer to a renewal was lost."""
        found = self._bucket.get(self._key)
        holder = read_holder(found[0]) if found is not None else None
        if found is None or holder is None or holder.token != self._token:
            return False
        self._etag = found[1].etag
        return True


def now_s() -> float:
    """Seconds that go on while the machine sleeps, where it has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def holder_at(bucket: Bucket, key: str) -> Holder | None:
    """Who holds the lock at `key` now; None where nobody does, or it was not renewed for longer than a lease."""
    found = bucket.get(key)
    holder = read_holder(found[0]) if found is not None else None
    if found is None or holder is None or is_free(holder) or found[1].age_s > LEASE_S:
        return None
    return holder
