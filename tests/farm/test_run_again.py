"""The same command again, by KubeRay's `backoffLimit` or by hand, after an end that a new try cannot mend.

KubeRay makes the cluster of a RayJob anew whatever its command ended with. The command on the new one has to end before
it asks for a renderer. Nobody answers at the address here: a run that wanted renderers would end with `WorkerLost`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core import codec
from core.errors import FarmError, InputError, WorkerLost
from core.records import EncodeSpec, JobSpec
from core.records.cost import Spent
from farm.artifacts import open_store
from farm.cost.kept import Kept, RunCost, name_of
from farm.driver import run_job
from farm.places import store_place
from farm.settings import RunOptions, Settings
from tests.faces_assets import carphone_clip, model_cache
from tests.farm.test_driver import UNDISTURBED
from tests.system.runs import farm

RUN = RunOptions(address="127.0.0.1:1", max_cost=100.0)


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    film = carphone_clip(tmp_path, frames=6)
    return JobSpec(
        str(film), str(tmp_path / "out.mp4"), encode=EncodeSpec("h264", 30, "ultrafast"), swapper="none", smart=False
    )


def ending(spec: JobSpec, run: RunOptions = RUN) -> FarmError:
    with pytest.raises(FarmError) as ended:
        run_job(spec, run, Settings(cores=2, model_cache=model_cache()), UNDISTURBED)
    return ended.value


def test_a_run_that_wants_renderers_does_not_get_that_far(spec: JobSpec) -> None:
    """In a process of its own: this one may have joined the Ray of other tests, and a run then takes that."""
    ran = farm("render", spec.target, "-o", spec.output, "--swapper", "none", "--address", str(RUN.address))
    assert (ran.code, "127.0.0.1:1" in ran.error_line) == (WorkerLost("").exit_code, True), ran.err


def test_a_misspelt_film_asks_for_no_renderer(spec: JobSpec) -> None:
    told = ending(replace(spec, target=f"{spec.target}x"))
    assert isinstance(told, InputError)
    assert told.exit_code == 2


def test_a_spent_budget_asks_for_no_renderer(spec: JobSpec) -> None:
    with open_store(*store_place(None, Path(spec.output))) as store:
        store.replace(name_of(store), codec.encode(Kept((RunCost(Spent(101.0, 0.0, 0.0, 101.0), "USD"),))))
    assert "higher --max-cost" in str(ending(spec))
