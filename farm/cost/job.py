"""The cost meter of one job: prices read, former runs looked up, what this run costs kept in the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from farm.artifacts import Store
from farm.cost.kept import CostFile, load_kept
from farm.cost.listener import CostMeter
from farm.cost.prices import Prices, load_prices
from farm.cost.spending import machine_of
from farm.settings import RunOptions, Settings


def prices_of(run: RunOptions, settings: Settings) -> Prices:
    """The price table of this run: --prices before FARM_PRICES before that of the package."""
    return load_prices(run.prices or settings.prices)


@contextmanager
def costing(store: Store, prices: Prices, run: RunOptions, settings: Settings, *, shared: bool) -> Iterator[CostMeter]:
    """The meter of a job in `store`, while it runs; `shared` where its pool has other jobs too.

    `InputError` where former runs were counted in another currency than the budget's.
    """
    kept = load_kept(store)
    own = run.local or (run.address or settings.ray_address) is None
    meter = CostMeter(
        prices,
        machine_of(settings.cores if own else 0),
        kept=kept,
        budget=run.max_cost,
        shared=shared,
    )
    with CostFile(store, kept, meter.this_run):
        try:
            yield meter
        finally:
            meter.close()
