"""The price table of the package, and a user's own in front of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from core.errors import InputError
from farm.cost.prices import TABLE, load_prices, read_prices

ROOT = Path(__file__).resolve().parents[3]
OWN = """
currency = "USD"
[[price]]
type = "g6.xlarge"
market = "spot"
per_hour = 0.3
gpus = 1
[[price]]
type = "rack"
per_hour = 0.05
cores = 64
[kinds]
"gpu-worker" = "g6.xlarge spot"
cpu = "rack on-demand"
"""


def test_every_price_of_the_package_has_a_date_and_a_source() -> None:
    prices = load_prices()
    assert prices.currency == "USD"
    assert len(prices.entries) > 5
    assert "check them" in prices.told
    for price in prices.entries.values():
        assert price.date
        assert price.source
        assert price.region
        assert price.gpus >= 1
        assert price.cores >= 1
        assert 0 < price.low <= price.per_hour <= price.high < 100


def test_spot_is_cheaper_than_on_demand() -> None:
    entries = load_prices().entries
    for price in entries.values():
        if price.market == "spot":
            assert price.high < entries[f"{price.type} on-demand"].per_hour


def test_a_kind_is_found_by_its_names() -> None:
    prices = load_prices()
    assert prices.of("g6.xlarge") == prices.of("g6.xlarge on-demand")
    spot = prices.of("g6.xlarge spot")
    assert spot is not None
    assert spot.market == "spot"
    assert prices.of("NVIDIA H200") is None
    assert prices.of("cpu") is None


@pytest.mark.parametrize("file", ["cluster.yaml", "deploy/gcp/cluster.yaml"])
def test_the_workers_of_the_cluster_files_have_prices(file: str) -> None:
    prices = load_prices()
    types = yaml.safe_load((ROOT / file).read_text())["available_node_types"]
    for name, node in types.items():
        if name == "head":
            continue
        price = prices.of(name)
        assert price is not None, name
        config = node["node_config"]
        assert price.type == config.get("InstanceType", config.get("machineType")), name
        assert price.market == node["labels"]["market"], name
        assert price.gpus == node["resources"]["GPU"], name
        assert price.cores == node["resources"]["CPU"], name


def test_the_user_s_own_table_goes_first(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    prices = load_prices(path)
    named = [prices.of(kind) for kind in ("gpu-worker", "cpu", "rack", "g6.xlarge spot", "g5.xlarge")]
    assert [price.per_hour if price else None for price in named] == [0.3, 0.05, 0.05, 0.3, 1.006]
    assert prices.told.startswith("prices of own.toml;")
    path.write_text(OWN.replace("USD", "EUR"))
    foreign = load_prices(path)
    assert foreign.currency == "EUR"
    assert foreign.of("g5.xlarge") is None, "dollars are not added to euros"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('currency = "USD"', "", "no currency"),
        ("per_hour = 0.05", "", "no per_hour"),
        ("per_hour = 0.05", "per_hour = -1", "per_hour = -1"),
        ("per_hour = 0.05", "per_hour = nan", "per_hour"),
        ("per_hour = 0.05", "per_hour = true", "per_hour"),
        ("per_hour = 0.05", 'per_hour = "5"', "per_hour"),
        ("per_hour = 0.05", "per_hour = 0.05\nlowest = 0.1", "not between"),
        ('type = "rack"', 'type = "g6.xlarge"\nmarket = "spot"', "twice"),
        ('type = "rack"', "type = 3", "no text"),
        ('type = "rack"', "", "no type"),
        ("cores = 64", "cpus = 64", "cpus"),
        ("[kinds]", "[sorts]", "sorts"),
        ('cpu = "rack on-demand"', "cpu = 3", "[kinds]"),
        ("[[price]]", "[[price", "no price table"),
    ],
)
def test_what_is_wrong_in_a_table_is_said_in_one_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN.replace(old, new, 1))
    with pytest.raises(InputError) as error:
        read_prices(path)
    assert told in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_prices(tmp_path / "none.toml")
    assert TABLE.is_file()
