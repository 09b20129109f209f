"""What one call each asks for, with both clients: lists to their end, results, webhooks, keys."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from core.errors import InputError, PolicyError
from farm.client import AsyncFarm, Farm, calls
from farm.service import held
from farm.service.records import Progress, SegmentRow, Spent
from farm.service.states import JobState
from tests.farm.api.conftest import House
from tests.farm.api.flows import asked, film_bytes, finished, sent, taken

JPEG = b"\xff\xd8\xff"
HOOK = "https://93.184.215.14/farm"


def worked_on(house: House, target: str) -> str:
    """A job of which twenty segments were told."""
    with house.http() as http:
        job = str(asked(http, target)["id"])
    mine = taken(house, job)
    held.stage(house.db, mine, JobState.rendering)
    rows = [SegmentRow(stage, number, "done", 7, 7) for stage in ("analyse", "render") for number in range(10)]
    held.report(house.db, mine, progress=Progress(), spent=Spent(), segments=rows)
    return job


def test_what_one_call_asks_for(house: House, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "SEGMENTS_A_PAGE", 7)
    with house.http() as http:
        target = str(sent(http, "target", "film.mp4", film_bytes(clips))["id"])
        done = str(asked(http, target)["id"])
    finished(house, done, film_bytes(clips), film_seconds=1.0)
    job = worked_on(house, target)
    with Farm(house.server.url, house.secret) as farm:
        assert [one.index for one in farm.segments(job)] == [*range(10)] * 2
        assert [one.index for one in farm.segments(job, "render")] == [*range(10)]
        assert {one.id for one in farm.jobs(limit=1)} == {job, done}
        assert farm.report(done)["film_seconds"] == 1.0
        assert farm.preview(done, 0.5, side="before", width=64).startswith(JPEG)
        with pytest.raises(InputError, match="not measured"):
            farm.quality(done)
        hook = farm.make_webhook(HOOK, job_id=job, states=["failed"])
        assert hook.secret
        assert hook.secret not in repr(hook)
        assert [(one.id, one.secret) for one in farm.webhooks()] == [(hook.id, None)]
        assert list(farm.deliveries(hook.id)) == []
        farm.remove_webhook(hook.id)
        assert all(one.off for one in farm.webhooks())
        made = farm.make_key("editor", ["jobs:read"], expires_in_s=60)
        assert made.secret
        assert made.secret not in repr(made)
        with Farm(house.server.url, made.secret) as other:
            assert other.me().scopes == ["jobs:read"]
            assert farm.revoke_key(made.id).revoked is not None
            with pytest.raises(PolicyError) as told:
                other.me()
        assert made.secret not in repr(told.value)
        known = farm.keys()
        assert made.id in {one.id for one in known}
    asyncio.run(the_same_with_await(house, job, done))


async def the_same_with_await(house: House, job: str, done: str) -> None:
    async with AsyncFarm(house.server.url, house.secret) as farm:
        assert [one.index async for one in farm.segments(job, "render")] == [*range(10)]
        assert {one.id async for one in farm.jobs(limit=1)} == {job, done}
        assert (await farm.report(done))["film_seconds"] == 1.0
        assert [one async for one in farm.deliveries()] == []
        hook = await farm.make_webhook(HOOK)
        await farm.remove_webhook(hook.id)
        assert all(one.off for one in await farm.webhooks())
        made = await farm.make_key("editor", ["jobs:read"])
        assert (await farm.revoke_key(made.id)).revoked is not None
        assert made.id in {one.id for one in await farm.keys()}


def test_what_would_be_made_twice_is_not_sent_twice() -> None:
    assert not calls.make_key("editor", ["jobs:read"], None).safe
    assert not calls.make_webhook(HOOK, None, ()).safe


def test_both_clients_have_the_same_calls() -> None:
    assert {name for name in dir(Farm) if name[0] != "_"} == {name for name in dir(AsyncFarm) if name[0] != "_"}


def test_what_is_given_is_asked_for_also_where_it_is_nothing(house: House) -> None:
    """A key that ends at once would be one for ever, and what hears of no job would hear of all."""
    with Farm(house.server.url, house.secret) as farm:
        for expires_in_s in (0, -1):
            with pytest.raises(InputError, match="expires_in_s"):
                farm.make_key("editor", ["jobs:read"], expires_in_s=expires_in_s)
        with pytest.raises(InputError, match="job"):
            farm.make_webhook(HOOK, job_id="")
        assert len(farm.keys()) == 1
        assert farm.webhooks() == []
