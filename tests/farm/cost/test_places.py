"""Where an estimate and a budget look: the operator's own types of nodes, and no others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

from core.errors import InputError
from core.media.encode import resolve_encoder
from core.media.index import index_film
from core.records import EncodeSpec, JobSpec
from farm.artifacts import open_store
from farm.clusterfile.check import read
from farm.clusterfile.supply import node_supply
from farm.cost.job import UNKNOWN_TYPES, costing, estimate_job, here, supply_here
from farm.cost.prices import load_prices
from farm.settings import RunOptions, Settings
from tests.deploy.amazon import ROOT
from tests.faces_assets import carphone_clip, model_cache
from tests.farm.test_driver import UNDISTURBED

ADDRESS = "192.0.2.1:6379"  # nobody is asked there
AWS = ("g6-spot", "g5-spot", "g6-ondemand")


@pytest.fixture
def settings() -> Settings:
    return Settings(cores=2, model_cache=model_cache())


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    film = carphone_clip(tmp_path, frames=6)
    return JobSpec(
        str(film),
        str(tmp_path / "out.mp4"),
        None,
        encode=EncodeSpec("h264", 30, "ultrafast"),
        swapper="none",
        smart=False,
    )


@pytest.fixture
def autoscaler(tmp_path: Path) -> Iterator[None]:
    """A process with the words of the autoscaler of the cluster at ADDRESS, and the shipped file."""
    file = tmp_path / "ray_bootstrap_config.yaml"
    file.write_text(yaml.safe_dump(read(ROOT / "cluster.yaml")[0]))
    words = [sys.executable, "-c", "input()", f"--autoscaling-config={file}", f"--gcs-address={ADDRESS}"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as process:
        yield
        process.kill()


def kinds(places: object) -> set[str]:
    return {place.kind for place in places}  # type: ignore[attr-defined]


@pytest.mark.usefixtures("autoscaler")
def test_on_the_head_an_estimate_is_of_the_clusters_own_types(spec: JobSpec, settings: Settings) -> None:
    told = estimate_job(spec, RunOptions(address=ADDRESS), settings, UNDISTURBED, within_s=3600.0)
    assert kinds(told.here) == set(AWS)
    assert told.elsewhere == ()
    assert told.money is not None
    assert told.within is not None
    assert {name for plan in told.within.plans for name in plan.kinds} <= set(AWS)
    supply = supply_here(RunOptions(address=ADDRESS), settings)
    assert supply is not None
    assert (supply.at_most, supply.boot_s) == (200, 360.0)


def test_where_nobody_here_knows_the_types_they_are_elsewhere(spec: JobSpec, settings: Settings) -> None:
    told = estimate_job(spec, RunOptions(address=ADDRESS), settings, UNDISTURBED)
    assert (told.here, told.money, told.notes) == ((), None, (UNKNOWN_TYPES,))
    assert kinds(told.elsewhere) == set(load_prices().kinds)


def test_a_file_says_the_types_and_those_without_a_price_have_none(settings: Settings, tmp_path: Path) -> None:
    document = read(ROOT / "cluster.yaml")[0]
    document["available_node_types"]["ours"] = document["available_node_types"].pop("g5-spot")
    (tmp_path / "ours.yaml").write_text(yaml.safe_dump(document))
    supply = node_supply(tmp_path / "ours.yaml")
    places = here(load_prices(), RunOptions(address=ADDRESS), settings, 1, supply)
    assert {place.kind: place.price is not None for place in places} == {
        "g6-spot": True,
        "g6-ondemand": True,
        "ours": False,
    }


def test_kinds_of_a_table_of_ones_own_are_the_clusters(settings: Settings, tmp_path: Path) -> None:
    table = tmp_path / "prices.toml"
    table.write_text('currency = "USD"\n[kinds]\ngpu-spot = "g6.2xlarge spot"\ngpu-ondemand = "g6.2xlarge on-demand"\n')
    places = here(load_prices(table), RunOptions(address=ADDRESS), settings, 1, None)
    assert kinds(places) == {"gpu-spot", "gpu-ondemand"}


@pytest.mark.parametrize("known", [True, False])
def test_a_budget_is_refused_by_the_clusters_own_types(
    spec: JobSpec, settings: Settings, tmp_path: Path, known: bool
) -> None:
    """By the only one of them, which is dear. Where nobody knows the types, it might be any of the table."""
    table = tmp_path / "prices.toml"
    entry = '[[price]]\ntype = "dear"\nper_hour = 1e6\ngpus = 1\ncores = 8\n'
    table.write_text(f'currency = "USD"\n{entry}' + ('[kinds]\ngpu = "dear on-demand"\n' if known else ""))
    run = RunOptions(address=ADDRESS, prices=table, max_cost=0.01)
    film = index_film(Path(spec.target))
    encoder = resolve_encoder(film, spec.encode, "mp4")
    with (
        open_store(tmp_path / "store", "a test") as store,
        costing(store, load_prices(table), run, settings, shared=False) as meter,
        pytest.raises(InputError, match="cannot do") if known else nullcontext(),
    ):
        meter.film(film, encoder, looks=False, renders=True)
