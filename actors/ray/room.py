"""Where a cluster has had room for a renderer for a while: what Ray has not begun meanwhile, it may never begin.

Counted in looks at the cluster, so that the time in which this process was stopped does not count.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping


class Room:
    """Seen on one thread, taken on another."""

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._looks = 0
        self._places: dict[str, int] = {}  # by node's id: the renderers that fit there beside all that Ray has begun
        self._rows: dict[str, int] = {}  # by node's id: the looks in a row, up to the last one, at which one did

    @property
    def looks(self) -> int:
        return self._looks

    def see(self, places: Mapping[str, int]) -> None:
        """At one more look, so many renderers fit on each of these nodes."""
        with self._gate:
            self._looks += 1
            self._places = {node_id: count for node_id, count in places.items() if count > 0}
            self._rows = {node_id: self._rows.get(node_id, 0) + 1 for node_id in self._places}

    def forget(self) -> None:
        """Nobody looks for now."""
        with self._gate:
            self._places, self._rows = {}, {}

    def take(self, since: int, least: int, avoids: Collection[str]) -> bool:
        """Whether a node had room at each of the last looks, at `least` so many and all of them after the look `since`,
        that is none of those to avoid. Its place is then taken: when all of a node's are, it is looked at anew."""
        with self._gate:
            if self._looks - since < least:
                return False
            for node_id, row in self._rows.items():
                if row >= least and node_id not in avoids:
                    self._places[node_id] -= 1
                    if not self._places[node_id]:
                        self._rows[node_id] = 0
                    return True
            return False
