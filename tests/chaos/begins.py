"""What a driver's log (--log-json) says of the segments that it gave to renderers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime


def begun_again(log: str, seen: Mapping[str, float]) -> list[str]:
    """Orders that this driver gave away although it could know that they were done: their receipt was `seen` before, in
    seconds of the epoch by order, or it was told so itself.

    No fault is an order that it had given away already and whose renderer was lost: that may have published just
    before. The next renderer then hands back what is there (tests.chaos.armed sees whether it does).
    """
    again, given, done = [], set[str](), set[str]()
    for line in log.splitlines():
        if not line.startswith("{"):
            continue
        try:
            told = json.loads(line)
        except ValueError:
            continue  # it was killed in the middle of a line
        event, order = told.get("event"), str(told.get("order"))
        if event == "done":
            done.add(order)
        elif event == "begin":
            at_s = datetime.fromisoformat(told["time"]).timestamp()
            known = order not in given and seen.get(order, at_s) < at_s
            again += [order] if order in done or known else []
            given.add(order)
    return again
