"""What Ray is to set aside for a renderer, as people write it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from core.errors import InputError

WANTED = """write it as '{"GPU": 1}' or '{"CPU": 2, "memory": 4e9}'"""


def resources_of(text: str | None, option: str) -> dict[str, float] | None:
    """The resources that `text`, JSON, names; None for None. `InputError` names the `option`."""
    if text is None:
        return None
    try:
        told = json.loads(text)
    except ValueError:
        raise InputError(f"{option} {text!r} is not JSON", hint=WANTED) from None
    if not isinstance(told, dict):
        raise InputError(f"{option} {text!r} names no resource", hint=WANTED)
    check_resources(told, option)
    return {str(name): float(amount) for name, amount in told.items()}


def check_resources(told: Mapping[str, object], option: str) -> None:
    """`InputError` where this is nothing that Ray could set aside: amounts above 0 by name, at least one."""
    if not told:
        raise InputError(f"{option} names no resource", hint=WANTED)
    for name, amount in told.items():
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 < amount < math.inf:
            raise InputError(f"{option}: {name} is {amount!r}, not a number above 0", hint=WANTED)
        if amount > 1 and amount != int(amount):
            raise InputError(f"{option}: {name} is {amount!r}", hint="Ray wants whole numbers above 1")
