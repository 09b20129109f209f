"""What an operator says of a service: read, or refused in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.errors import InputError
from farm.api.rules import (
    KEEP_AUDIT,
    apply_quotas,
    check_allowed,
    check_prefix,
    days_of,
    quota_texts,
    quotas_of,
    retention_of,
)
from farm.cli.main import main, make_app
from farm.service import audit, clearing, jobs, keys, uploads
from farm.service.clearing import Retention, clear
from farm.service.database import Database, open_database
from farm.service.errors import NotFound
from farm.service.places import ServicePlaces
from farm.service.records import TenantQuota
from farm.service.states import JobState
from farm.settings import service_database
from tests.farm.service.farmhouse import ACME, Hand, job_in, submit, tenants
from tests.farm.service.running import order_of

ROOT = Path(__file__).parents[3]
DAY_S = 86_400


def test_quotas_are_read_and_told_in_the_same_words(tmp_path: Path) -> None:
    said = ["segments=4", "jobs_waiting=none", "gpu_s=7200", "stored_bytes=500G", "film_s=3600"]
    found = quotas_of(said)
    assert found == {
        "segments": 4,
        "jobs_waiting": None,
        "gpu_ms": 7_200_000,
        "stored_bytes": 500 << 30,
        "film_s": 3600,
    }
    with open_database(f"sqlite:///{tmp_path}/farm.db") as db:
        keys.make_tenant(db, "Acme", tenant_id=ACME)
        made = apply_quotas(db, ACME, found)
        assert made == keys.tenant(db, ACME).quota
        assert made == TenantQuota(4, None, None, 7_200_000, 500 << 30, 3600)
        assert quotas_of(quota_texts(made)) == {**found, "jobs_running": None}


@pytest.mark.parametrize(
    "text", ["film_s", "film_s=", "film_s=-1", "film_s=1.5", "colour=3", "=3", "gpu_ms=3", "film_s=٣"]
)
def test_what_is_no_quota_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        quotas_of([text])


def test_paths_and_beginnings_of_addresses() -> None:
    assert (check_prefix(""), check_prefix("/a/b")) == ("", "/a/b")
    for text in ("farm", "/farm/", "/", "//farm"):
        with pytest.raises(InputError, match="/farm"):
            check_prefix(text)
    assert check_allowed(["s3://films/in/", "s3://other/"]) == ("s3://films/in/", "s3://other/")
    for text in ("s3://films", "s3://films/in", "http://films/", "films/"):
        with pytest.raises(InputError):
            check_allowed([text])
    assert service_database("", {"FARM_DATABASE": "postgresql://db/farm"}) == "postgresql://db/farm"
    assert service_database("sqlite:///x.db", {"FARM_DATABASE": "postgresql://db/farm"}) == "sqlite:///x.db"
    assert retention_of(None, 0.5) == Retention(None, DAY_S // 2)
    assert retention_of(1, None, 2) == Retention(DAY_S, None, 2 * DAY_S)
    assert (days_of("730"), days_of("0.5"), days_of("none")) == (730.0, 0.5, None)
    for text in ("", "-1", "nan", "inf", "a year"):
        with pytest.raises(InputError, match="no number of days"):
            days_of(text)


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Database, Hand, ServicePlaces]:
    clock = Hand()
    db = open_database(f"sqlite:///{tmp_path}/farm.db", clock=clock)
    tenants(db)
    return db, clock, ServicePlaces(tmp_path / "data")


def test_what_is_old_enough_is_erased_unasked(kept: tuple[Database, Hand, ServicePlaces]) -> None:
    db, clock, places = kept
    rule = Retention(jobs_s=10 * DAY_S, uploads_s=5 * DAY_S)
    with db:
        done, _ = job_in(db, JobState.succeeded)
        failed, _ = job_in(db, JobState.failed)
        file = places.job(done) / "out" / "out.mp4"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"film")
        lonely = uploads.begin(
            db, ACME, purpose="target", name="a", size_bytes=1, place=lambda one: str(places.upload(ACME, one))
        )
        uploads.finish(db, ACME, lonely.id, size_bytes=1, sha256="0", media={})
        clock.forward(4 * DAY_S)
        jobs.retry(db, ACME, failed)  # it has not ended any more
        young, _ = job_in(db, JobState.cancelled)
        clear(db, places, rule)
        assert jobs.get(db, ACME, done).state == "succeeded"
        clock.forward(2 * DAY_S)
        clear(db, places, rule)
        with pytest.raises(NotFound):
            uploads.get(db, ACME, lonely.id)
        assert file.exists()
        clock.forward(5 * DAY_S)
        clear(db, places, Retention())
        assert file.exists()
        clear(db, places, rule)
        assert not file.exists()
        for name in (failed, young):
            assert jobs.get(db, ACME, name)
        with pytest.raises(NotFound):
            jobs.get(db, ACME, done)
        told = {(line.actor, line.action, line.object) for line in audit.listed(db).items}
        assert {("retention", "job.erase", done), ("retention", "upload.remove", lonely.id)} <= told
        audit.check(db)


def test_what_cannot_be_removed_keeps_nothing_else_from_going(
    kept: tuple[Database, Hand, ServicePlaces], monkeypatch: pytest.MonkeyPatch
) -> None:
    db, _, places = kept
    monkeypatch.setattr(clearing, "AT_ONCE", 2)
    with db:
        made = [submit(db).id for _ in range(5)]
        places.make()
        for one in made[:3]:
            places.job(one).touch()  # no folder, so it cannot be removed as one
        for one in made[3:]:
            places.job(one).mkdir()
        for one in made:
            jobs.erase(db, ACME, one)
        clear(db, places)
        assert sorted(file.name for file in (places.root / "jobs").iterdir()) == made[:3]


def test_an_upload_that_a_job_uses_stays(kept: tuple[Database, Hand, ServicePlaces]) -> None:
    db, clock, places = kept
    with db:
        row = uploads.begin(db, ACME, purpose="target", name="a", size_bytes=1, place=lambda one: f"/none/{one}")
        uploads.finish(db, ACME, row.id, size_bytes=1, sha256="0", media={})
        made = submit(db)
        jobs.submit(db, ACME, order_of(row.id))
        clock.forward(100 * DAY_S)
        clear(db, places, Retention(uploads_s=DAY_S))
        assert uploads.get(db, ACME, row.id).state == "ready"
        assert jobs.get(db, ACME, made.id)


def test_a_picture_that_was_let_go_is_kept_as_long_as_any(kept: tuple[Database, Hand, ServicePlaces]) -> None:
    db, clock, places = kept
    with db:
        made = submit(db, wait_for_cast=True).id
        row = uploads.begin(db, ACME, purpose="source", name="a", size_bytes=1, place=lambda one: f"/none/{one}")
        uploads.finish(db, ACME, row.id, size_bytes=1, sha256="0", media={})
        jobs.put_cast(db, ACME, made, f'[[people]]\nid = "P01"\nsource = "upload:{row.id}"\n')
        clock.forward(100 * DAY_S)
        jobs.put_cast(db, ACME, made, '[[people]]\nid = "P01"\n')
        clear(db, places, Retention(uploads_s=DAY_S))
        assert uploads.get(db, ACME, row.id).state == "ready"
        clock.forward(2 * DAY_S)
        clear(db, places, Retention(uploads_s=DAY_S))
        with pytest.raises(NotFound):
            uploads.get(db, ACME, row.id)


def test_tenants_are_the_operators(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--database", f"sqlite:///{tmp_path}/farm.db"]
    assert main(["tenant", "make", "acme", "--name", "Acme", "--quota", "film_s=60", *place]) == 0
    first = capsys.readouterr().out.strip()
    assert main(["tenant", "key", "acme", "--scope", "jobs:read", "--expires", "1", *place]) == 0
    second = capsys.readouterr().out.strip()
    assert main(["tenant", "quota", "acme", "--quota", "gpu_s=60", *place]) == 0
    assert "gpu_s=60" in capsys.readouterr().out
    assert main(["tenant", "list", "--json", *place]) == 0
    assert '"film_s": 60' in capsys.readouterr().out
    with open_database(place[1]) as db:
        assert keys.check_key(db, first).may("admin")
        assert keys.check_key(db, second).scopes == ("jobs:read",)
        assert main(["tenant", "revoke", "acme", second.split("_")[1], *place]) == 0
        assert {row.revoked_ms is not None for row in keys.listed(db, "acme")} == {True, False}
    for words in (["make", "acme"], ["quota", "nobody"], ["key", "acme", "--scope", "all"], ["make", "Ä"]):
        assert main(["tenant", *words, *place]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_documentation_lists_what_an_operator_may_say() -> None:
    import typer  # noqa: PLC0415

    from farm.api.ingress import Args  # noqa: PLC0415 - loads Ray Serve

    text = (ROOT / "docs" / "service.md").read_text()
    table = text.split("## What the operator says")[1].split("### Tenants")[0]
    serve = typer.main.get_command(make_app()).commands["serve"]  # type: ignore[attr-defined]
    options = {name for option in serve.params for name in option.opts} - {"--debug", "--log-json", "--help"}
    assert set(re.findall(r"`(--[a-z-]+)`", table)) == options
    plural = {"--allow-url": "allowed_urls", "--quota": "quotas", "--webhook-network": "webhook_networks"}
    of_this_machine = {"--host", "--port", "--address", "--local", "--metrics-port", "--print-key"}
    named = {plural.get(name, name.removeprefix("--").replace("-", "_")) for name in options - of_this_machine}
    assert set(Args.model_fields) == named | {"replicas", "min_replicas", "metrics"}
    (keep,) = (option for option in serve.params if option.name == "keep_audit")
    assert days_of(str(keep.default)) == KEEP_AUDIT == Args.model_fields["keep_audit"].default
    assert f"| `--keep-audit` DAYS | {KEEP_AUDIT:g} |" in table
