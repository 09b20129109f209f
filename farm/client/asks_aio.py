"""What is asked of a service in one call each, with `await`: jobs, their results, webhooks, keys."""

from __future__ import annotations

import json as json_text
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

from farm.client import calls, files, given
from farm.client.calls import (
    Call,
    CastView,
    DeliveryView,
    Items,
    JobView,
    KeyView,
    Me,
    SegmentView,
    Side,
    WebhookView,
)

M = TypeVar("M", bound=BaseModel)


class AsyncAsks(ABC):
    """The calls; `_send` is how one is sent and tried again."""

    @abstractmethod
    async def _send(self, call: Call) -> httpx.Response:
        """The answer to a call that was taken; `FarmError` for any other."""

    # ------------------------------------------------------------ jobs

    async def job(self, job_id: str) -> JobView:
        return await self._get(JobView, calls.job(job_id))

    async def jobs(self, *states: str, limit: int = 50) -> AsyncIterator[JobView]:
        """All jobs, newest first, page after page."""
        async for item in self._all(JobView, lambda cursor: calls.list_jobs(states, cursor, limit)):
            yield item

    async def cancel(self, job_id: str) -> JobView:
        return await self._read(JobView, calls.ask(job_id, "cancel"))

    async def pause(self, job_id: str) -> JobView:
        return await self._read(JobView, calls.ask(job_id, "pause"))

    async def resume(self, job_id: str) -> JobView:
        return await self._read(JobView, calls.ask(job_id, "resume"))

    async def retry(self, job_id: str) -> JobView:
        return await self._read(JobView, calls.ask(job_id, "retry"))

    async def erase(self, job_id: str) -> None:
        await self._send(Call("DELETE", calls.job(job_id)))

    async def segments(self, job_id: str, stage: str | None = None) -> AsyncIterator[SegmentView]:
        """All segments of a job, or those of one stage, page after page."""
        async for item in self._all(SegmentView, lambda cursor: calls.list_segments(job_id, stage, cursor)):
            yield item

    async def log(self, job_id: str) -> str:
        return (await self._send(Call("GET", f"{calls.job(job_id)}/log"))).text

    async def cast(self, job_id: str) -> CastView:
        return await self._get(CastView, f"{calls.job(job_id)}/cast")

    async def cast_picture(self, job_id: str, name: str) -> bytes:
        """A person's picture, by the name of its file."""
        return (await self._send(Call("GET", f"{calls.job(job_id)}/cast/{given.part_of_path(name)}"))).content

    async def put_cast(self, job_id: str, cast: str | Mapping[str, Any]) -> JobView:
        """A whole cast.toml as text, or {"people": {"p1": {"source": {"images": [{"upload": ...}]}}}}."""
        return await self._read(JobView, files.cast_call(job_id, cast))

    # ------------------------------------------------------------ results

    async def report(self, job_id: str) -> dict[str, Any]:
        return await self._json(f"{calls.job(job_id)}/report")

    async def quality(self, job_id: str) -> dict[str, Any]:
        """How good the faces are, as lines over time, of a job that was to measure it."""
        return await self._json(f"{calls.job(job_id)}/quality")

    async def preview(self, job_id: str, at: float = 0.0, *, side: Side = "after", width: int = 960) -> bytes:
        """A JPEG of the frame that is shown `at` seconds into the film, as it was or as it is now."""
        return (await self._send(calls.preview(job_id, at, side, width))).content

    # ------------------------------------------------------------ the tenant's

    async def me(self) -> Me:
        return await self._get(Me, "/v1/me")

    async def make_webhook(self, url: str, *, job_id: str | None = None, states: Sequence[str] = ()) -> WebhookView:
        """Have `url` told of a job, or of all; the answer has the secret that signs, once."""
        return await self._read(WebhookView, calls.make_webhook(url, job_id, states))

    async def webhooks(self) -> list[WebhookView]:
        return (await self._get(Items[WebhookView], "/v1/webhooks")).items

    async def remove_webhook(self, webhook_id: str) -> None:
        await self._send(Call("DELETE", f"/v1/webhooks/{given.part_of_path(webhook_id)}"))

    async def deliveries(self, webhook_id: str | None = None) -> AsyncIterator[DeliveryView]:
        """What was sent, what waits and what was given up, page after page."""
        async for item in self._all(DeliveryView, lambda cursor: calls.list_deliveries(webhook_id, cursor)):
            yield item

    async def make_key(self, name: str, scopes: Sequence[str], *, expires_in_s: int | None = None) -> KeyView:
        """A key of the same tenant; the answer has it whole, as `secret`, once."""
        return await self._read(KeyView, calls.make_key(name, scopes, expires_in_s))

    async def keys(self) -> list[KeyView]:
        return (await self._get(Items[KeyView], "/v1/keys")).items

    async def revoke_key(self, key_id: str) -> KeyView:
        return await self._read(KeyView, Call("DELETE", f"/v1/keys/{given.part_of_path(key_id)}"))

    # ------------------------------------------------------------ inside

    async def _read(self, model: type[M], call: Call) -> M:
        return calls.read(model, (await self._send(call)).content)

    async def _get(self, model: type[M], path: str) -> M:
        return await self._read(model, Call("GET", path))

    async def _json(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = json_text.loads((await self._send(Call("GET", path))).content)
        return found

    async def _all(self, model: type[M], page: Callable[[str | None], Call]) -> AsyncIterator[M]:
        """The items of a list, page after page."""
        cursor: str | None = None
        while True:
            here = await self._read(Items[model], page(cursor))  # type: ignore[valid-type]
            for item in here.items:
                yield item
            cursor = here.next
            if cursor is None:
                return
