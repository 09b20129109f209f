"""Cost of real jobs in one process: the report, a budget that stops one and a higher one that resumes it, estimates.

The machine's price is one a core-second and more, so that a film of seconds costs sums that a person would notice.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import boto3
import pytest

from core import codec
from core.errors import BudgetSpent, InputError
from core.records import EncodeSpec, EstimateReport, JobReport, JobSpec, Spent
from farm.artifacts import DiskStore
from farm.cost.job import costing, estimate_job, prices_of
from farm.cost.kept import Kept, RunCost, load_kept, name_of
from farm.driver import run_job
from farm.paths import place
from farm.report import page, summary
from farm.settings import RunOptions, Settings
from tests.actors.films import make_film
from tests.farm.test_driver import UNDISTURBED, At
from tests.system.runs import farm_here, leftovers

SEGMENTS = 12
PRICES = """
currency = "EUR"
[[price]]
type = "lab"
per_hour = 3600000
cores = 2
[kinds]
cpu = "lab on-demand"
"""
A_SECOND = 1000.0


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", seconds=SEGMENTS)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    return Settings(cores=2, model_cache=Path("unused"), prices=path)


@pytest.fixture
def spec(tmp_path: Path, original: Path) -> JobSpec:
    encode = EncodeSpec("h264", 30, "ultrafast")
    out = str(tmp_path / "out.mp4")
    return JobSpec(str(original), out, swapper="none", encode=encode, segment_s=Fraction(1))


RUN = RunOptions(local=True, device="cpu")


def stop_by_hand() -> None:
    raise InputError("stopped by hand")


def check_books(report: JobReport) -> None:
    """What holds of every report: its parts are its sum, and each segment of this run was done once."""
    cost = report.cost
    assert cost is not None
    parts = sum((cost.part(name) for name in ("done", "lost", "running", "idle", "starting")), Spent())
    assert parts.money == pytest.approx(cost.spent.money)
    assert cost.spent.money == pytest.approx(A_SECOND * cost.spent.slot_s)
    assert cost.spent.core_s == pytest.approx(2 * cost.spent.slot_s)
    assert cost.spent.gpu_s == 0
    done = [one for one in cost.attempts if one.outcome == "done"]
    assert sorted(one.segment for one in done) == sorted({one.segment for one in done})
    assert sum(one.spent.money for one in done) == pytest.approx(cost.part("done").money)
    assert cost.spent.slot_s <= report.seconds


def test_a_job_says_what_it_cost(spec: JobSpec, settings: Settings) -> None:
    report = run_job(spec, RUN, settings, UNDISTURBED)
    check_books(report)
    cost = report.cost
    assert cost is not None
    assert len(cost.attempts) == SEGMENTS
    assert cost.part("lost") == cost.part("running") == Spent()
    assert (cost.currency, cost.earlier_runs, cost.budget) == ("EUR", 0, None)
    assert codec.decode(codec.encode(report), JobReport) == report
    assert f"cost {cost.spent.money:.2f} EUR" in summary(report)
    told = "\n".join(page(report))
    assert "on cpu (on-demand)" in told
    assert "check them against your provider's list" in told


def test_a_budget_stops_a_job_and_a_higher_one_resumes_it(spec: JobSpec, settings: Settings, tmp_path: Path) -> None:
    whole = run_job(replace(spec, output=str(tmp_path / "whole.mp4")), RUN, settings, UNDISTURBED)
    with pytest.raises(BudgetSpent) as stopped:
        run_job(spec, replace(RUN, max_cost=0.05 * A_SECOND), settings, UNDISTURBED)
    assert stopped.value.exit_code == 4
    assert "higher --max-cost" in str(stopped.value)
    store = DiskStore(str(tmp_path / "out.mp4.farm"))
    finished = len(store.done("segments"))
    assert 1 <= finished < SEGMENTS
    (first,) = load_kept(store).runs
    assert first.spent.money > 0
    with pytest.raises(BudgetSpent, match="used up"):
        run_job(spec, replace(RUN, max_cost=first.spent.money), settings, UNDISTURBED)
    report = run_job(spec, replace(RUN, max_cost=1000 * A_SECOND), settings, UNDISTURBED)
    check_books(report)
    assert report.output_sha256 == whole.output_sha256
    assert report.segments_reused == finished
    cost = report.cost
    assert cost is not None
    assert (cost.earlier_runs, cost.earlier) == (1, first.spent)
    assert cost.job.money == pytest.approx(first.spent.money + cost.spent.money)
    assert leftovers(tmp_path, ["prices.toml", "out.mp4", "whole.mp4"]) == []


@pytest.mark.parametrize("torn", [b"", b'{"runs": [{"spent": {"money": 24.9', b"\x00" * 64])
def test_a_budget_does_not_begin_anew_where_the_books_cannot_be_read(
    spec: JobSpec, settings: Settings, tmp_path: Path, torn: bytes
) -> None:
    store = DiskStore(str(tmp_path / "out.mp4.farm"))
    run = replace(RUN, max_cost=A_SECOND, store=tmp_path / "out.mp4.farm")
    with pytest.raises(InputError, match="by hand"):
        run_job(spec, replace(run, keep=True), settings, At("index", stop_by_hand))
    store.replace(name_of(store), torn)
    for _ in range(2):
        with pytest.raises(InputError, match="cannot be read") as refused:
            run_job(spec, run, settings, UNDISTURBED)
        assert name_of(store) in refused.value.where
        assert store.read(name_of(store)) == torn
    free = replace(run, max_cost=None)
    with costing(store, prices_of(free, settings), free, settings, shared=False) as meter:
        meter.stage("start")
    assert name_of(store) in " ".join(meter.report().notes)
    assert store.read(name_of(store)) == torn


def test_books_in_another_currency_outlive_the_refusal(spec: JobSpec, settings: Settings, tmp_path: Path) -> None:
    store = DiskStore(str(tmp_path / "out.mp4.farm"))
    run = replace(RUN, max_cost=A_SECOND, store=tmp_path / "out.mp4.farm")
    with pytest.raises(InputError, match="by hand"):
        run_job(spec, replace(run, keep=True), settings, At("index", stop_by_hand))
    kept = Kept((RunCost(Spent(1.0, 0.0, 0.0, 1.0), "USD"),))
    store.replace(name_of(store), codec.encode(kept))
    for _ in range(2):
        with pytest.raises(InputError, match="USD"):
            run_job(spec, run, settings, UNDISTURBED)
    assert load_kept(store) == kept


@pytest.mark.heavy
def test_what_a_stopped_run_cost_is_kept_although_nothing_was_finished(
    spec: JobSpec, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="by hand"):
        run_job(spec, replace(RUN, max_cost=1000 * A_SECOND), settings, At("join", stop_by_hand))
    store = DiskStore(str(tmp_path / "out.mp4.farm"))
    assert len(load_kept(store).runs) == 1
    for order in store.done("segments"):
        store.discard(f"segments/{order}/DONE.json")
    with pytest.raises(InputError, match="by hand"):
        run_job(spec, replace(RUN, max_cost=1000 * A_SECOND), settings, At("start", stop_by_hand))
    assert len(load_kept(store).runs) == 1
    with pytest.raises(InputError, match="by hand"):
        run_job(spec, RUN, settings, At("start", stop_by_hand))
    assert leftovers(tmp_path, ["prices.toml"]) == [], "without a budget, nobody asks for it"


def test_a_budget_below_the_least_that_it_can_cost_begins_nothing(
    spec: JobSpec, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="cannot do: what is open costs") as refused:
        run_job(spec, replace(RUN, max_cost=0.0001), settings, At("start", lambda: pytest.fail("it was begun")))
    assert refused.value.exit_code == 2
    assert leftovers(tmp_path, ["prices.toml"]) == []


def test_an_estimate_holds_what_the_job_costs_and_leaves_nothing(
    spec: JobSpec, settings: Settings, tmp_path: Path
) -> None:
    estimate = estimate_job(spec, RUN, settings, UNDISTURBED)
    assert leftovers(tmp_path, ["prices.toml"]) == []
    assert (estimate.work.render_segments, estimate.work.render_frames) == (SEGMENTS, 25 * SEGMENTS)
    assert (estimate.work.analyse_segments, estimate.work.faces.high) == (0, 0)
    assert estimate.elsewhere == (), "prices in EUR are not those of the package"
    money = estimate.money
    assert money is not None
    report = run_job(spec, replace(RUN, keep=True), settings, UNDISTURBED)
    assert report.cost is not None
    assert money.low <= report.cost.spent.money <= money.high
    again = estimate_job(spec, RUN, settings, UNDISTURBED)
    assert again.work.render_segments == 0
    assert again.money is not None
    assert again.money.high == 0
    assert again.earlier == report.cost.spent


@pytest.mark.heavy
def test_receipts_of_the_store_go_before_the_table(spec: JobSpec, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(BudgetSpent):
        run_job(spec, replace(RUN, max_cost=0.1 * A_SECOND), settings, UNDISTURBED)
    store = DiskStore(str(tmp_path / "out.mp4.farm"))
    done = len(store.done("segments"))
    before = sorted(store.listed("jobs"))
    (kind,) = estimate_job(spec, RUN, settings, UNDISTURBED).here
    assert sorted(store.listed("jobs")) == before, "an estimate changes nothing"
    measured = f"{done} segments of this job's store that were rendered on cpu"
    assert any(measured in text for text in kind.rests_on) == (done >= 3)


@pytest.mark.heavy
def test_a_store_in_a_bucket_is_looked_at(spec: JobSpec, settings: Settings, s3: str) -> None:
    name = f"kept-{secrets.token_hex(4)}"
    boto3.resource("s3").create_bucket(Bucket=name)
    run = replace(RUN, store=place(f"s3://{name}/store"), keep=True)
    done = run_job(spec, run, settings, UNDISTURBED)
    names = [entry.key for entry in boto3.resource("s3").Bucket(name).objects.all()]
    assert any(key.endswith("/COST") for key in names)
    estimate = estimate_job(spec, run, settings, UNDISTURBED)
    assert estimate.work.render_segments == 0
    assert done.cost is not None
    assert estimate.earlier == done.cost.spent
    assert [entry.key for entry in boto3.resource("s3").Bucket(name).objects.all()] == names, "nothing is changed"


def test_the_command_estimates_in_words_and_as_json(spec: JobSpec, settings: Settings, tmp_path: Path) -> None:
    options = ["-o", spec.output, "--swapper", "none", "--local", "--prices", str(settings.prices), "--estimate"]
    said = farm_here("render", spec.target, *options)
    assert said.code == 0, said.err
    assert "cost here: " in said.out
    assert "EUR" in said.out
    told = farm_here("render", spec.target, *options, "--json")
    report = codec.decode(told.out.encode(), EstimateReport)
    assert report.currency == "EUR"
    assert json.loads(told.out)["work"]["frames"] == 25 * SEGMENTS
    assert leftovers(tmp_path, ["prices.toml"]) == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--max-cost", "nan"], "--max-cost"),
        (["--max-cost", "inf"], "write a number"),
        (["--max-cost", "-1"], "--max-cost"),
        (["--max-cost", "much"], "--max-cost"),
        (["--prices", "none.toml"], "none.toml"),
        (["--estimate", "--write-job", "job.json"], "exclude each other"),
    ],
)
def test_bad_options_are_told_in_one_line(spec: JobSpec, tmp_path: Path, options: list[str], told: str) -> None:
    ran = farm_here("render", spec.target, "-o", spec.output, "--swapper", "none", "--local", *options)
    assert ran.code == 2
    assert told in ran.err
    assert leftovers(tmp_path, []) == []
