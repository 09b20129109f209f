"""The price table: what an hour of a node costs, by its type and market.

The table in the package is a start, with the date and source of every price; prices change, and the user's own file
(FARM_PRICES, --prices) goes before it, entry by entry. A file in another currency takes its place altogether.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from core.errors import InputError

TABLE = Path(__file__).parent / "prices.toml"
CHECK = "check them against your provider's list"
NUMBERS = ("per_hour", "lowest", "highest", "gpus", "cores")
TEXTS = ("type", "market", "accelerator", "region", "source")
HINT = "see docs/cost.md for the form of a price table"


@dataclass(frozen=True)
class Price:
    """An hour of one node of `type` in `market` ("on-demand", "spot", or a word of the user's), and what it has.

    `per_hour` is what is reckoned with, from `low` to `high` what it may be. `gpus` and `cores` are the node's; 0 cores
    means that nobody said how many.
    """

    type: str
    market: str = "on-demand"
    per_hour: float = 0.0
    low: float = 0.0
    high: float = 0.0
    gpus: float = 0.0
    cores: float = 0.0
    accelerator: str = ""
    region: str = ""
    date: str = ""
    source: str = ""

    @property
    def name(self) -> str:
        return f"{self.type} {self.market}"


@dataclass(frozen=True)
class Prices:
    """All prices in one `currency`; `kinds` are other names of "TYPE MARKET", and `told` says where they are from.

    `own`: those of `kinds` that the user's own file names, which are what the user's cluster has.
    """

    currency: str
    entries: Mapping[str, Price]
    kinds: Mapping[str, str]
    told: str
    own: tuple[str, ...] = ()

    def of(self, kind: str) -> Price | None:
        """The price of what a cluster calls `kind`: a name of [kinds], "TYPE MARKET", or a type, which then is the
        on-demand one, or the only one that there is. None where nobody said."""
        name = self.kinds.get(kind, kind)
        if (exact := self.entries.get(name)) is not None:
            return exact
        same = [price for price in self.entries.values() if price.type == name]
        return next((price for price in same if price.market == "on-demand"), same[0] if len(same) == 1 else None)


def load_prices(path: Path | None = None) -> Prices:
    """The table in the package, with the entries of the file `path` in front. `InputError` for what is no table."""
    built_in = read_prices(TABLE)
    if path is None:
        return built_in
    own = read_prices(path)
    if own.currency != built_in.currency:
        return replace(own, own=tuple(own.kinds))
    return Prices(
        own.currency,
        {**built_in.entries, **own.entries},
        {**built_in.kinds, **own.kinds},
        f"{own.told}, {built_in.told}",
        tuple(own.kinds),
    )


def read_prices(path: Path) -> Prices:
    """One file. `InputError` names what is wrong in it."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(error.strerror or str(error), where=str(path), hint="name a price table") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"no price table: {error}", where=str(path), hint=HINT) from error
    _known_only(data, {"currency", "price", "kinds"}, "the table", path)
    currency = data.get("currency")
    if not isinstance(currency, str) or not currency.strip():
        raise InputError("the price table names no currency", where=str(path), hint='write currency = "USD"')
    listed = data.get("price", [])
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise InputError("price is no list of tables", where=str(path), hint="write [[price]] over each")
    entries: dict[str, Price] = {}
    for number, entry in enumerate(listed, 1):
        price = _price(entry, number, path)
        if price.name in entries:
            raise InputError(f"{price.name} is there twice", where=str(path), hint="leave one of them out")
        entries[price.name] = price
    kinds = data.get("kinds", {})
    if not isinstance(kinds, dict) or not all(isinstance(name, str) for name in kinds.values()):
        raise InputError("[kinds] does not give names", where=str(path), hint='write "node type" = "g6.xlarge spot"')
    dates = sorted(price.date for price in entries.values() if price.date)
    told = f"prices of {path.name}" + (f" as of {dates[0]}" if dates else "")
    if dates and dates[-1] != dates[0]:
        told += f" to {dates[-1]}"
    return Prices(currency.strip(), entries, dict(kinds), f"{told}; {CHECK}")


def _known_only(data: Mapping[str, Any], known: set[str], whose: str, path: Path) -> None:
    for key in data:
        if key not in known:
            raise InputError(f"{whose} has no {key!r}", where=str(path), hint=f"it has {', '.join(sorted(known))}")


def _price(entry: Mapping[str, Any], number: int, path: Path) -> Price:
    whose = f"price {number}"
    _known_only(entry, {*NUMBERS, *TEXTS, "date"}, whose, path)
    texts = {key: entry.get(key, "") for key in TEXTS}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise InputError(f"{whose}: {key} is no text", where=str(path), hint=f'write {key} = "..."')
    if not texts["type"]:
        raise InputError(f"{whose} names no type", where=str(path), hint='write type = "g6.xlarge"')
    numbers = {key: _number(entry, key, f"{whose} ({texts['type']})", path) for key in NUMBERS}
    per_hour = numbers["per_hour"]
    if per_hour is None:
        raise InputError(f"{whose} ({texts['type']}) has no per_hour", where=str(path), hint="write per_hour = 0.80")
    low, high = numbers["lowest"], numbers["highest"]
    low, high = per_hour if low is None else low, per_hour if high is None else high
    if not low <= per_hour <= high:
        raise InputError(
            f"{whose} ({texts['type']}): {per_hour:g} an hour is not between lowest and highest",
            where=str(path),
            hint="correct one of the three",
        )
    when = entry.get("date")
    if when is not None and not isinstance(when, date | str):
        raise InputError(f"{whose}: date is no date", where=str(path), hint="write date = 2026-11-21")
    return Price(
        type=texts["type"],
        market=texts["market"] or "on-demand",
        per_hour=per_hour,
        low=low,
        high=high,
        gpus=numbers["gpus"] or 0.0,
        cores=numbers["cores"] or 0.0,
        accelerator=texts["accelerator"],
        region=texts["region"],
        date=str(when or ""),
        source=texts["source"],
    )


def _number(entry: Mapping[str, Any], key: str, whose: str, path: Path) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise InputError(f"{whose}: {key} = {value!r} is no number of at least 0", where=str(path), hint=HINT)
    return float(value)
