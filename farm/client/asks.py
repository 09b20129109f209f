"""What is asked of a service in one call each: jobs, their results, webhooks, keys."""

from __future__ import annotations

import json as json_text
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
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


class Asks(ABC):
    """The calls; `_send` is how one is sent and tried again."""

    @abstractmethod
    def _send(self, call: Call) -> httpx.Response:
        """The answer to a call that was taken; `FarmError` for any other."""

    # ------------------------------------------------------------ jobs

    def job(self, job_id: str) -> JobView:
        return self._get(JobView, calls.job(job_id))

    def jobs(self, *states: str, limit: int = 50) -> Iterator[JobView]:
        """All jobs, newest first, page after page."""
        yield from self._all(JobView, lambda cursor: calls.list_jobs(states, cursor, limit))

    def cancel(self, job_id: str) -> JobView:
        return self._read(JobView, calls.ask(job_id, "cancel"))

    def pause(self, job_id: str) -> JobView:
        return self._read(JobView, calls.ask(job_id, "pause"))

    def resume(self, job_id: str) -> JobView:
        return self._read(JobView, calls.ask(job_id, "resume"))

    def retry(self, job_id: str) -> JobView:
        return self._read(JobView, calls.ask(job_id, "retry"))

    def erase(self, job_id: str) -> None:
        self._send(Call("DELETE", calls.job(job_id)))

    def segments(self, job_id: str, stage: str | None = None) -> Iterator[SegmentView]:
        """All segments of a job, or those of one stage, page after page."""
        yield from self._all(SegmentView, lambda cursor: calls.list_segments(job_id, stage, cursor))

    def log(self, job_id: str) -> str:
        return self._send(Call("GET", f"{calls.job(job_id)}/log")).text

    def cast(self, job_id: str) -> CastView:
        return self._get(CastView, f"{calls.job(job_id)}/cast")

    def cast_picture(self, job_id: str, name: str) -> bytes:
        """A person's picture, by the name of its file."""
        return self._send(Call("GET", f"{calls.job(job_id)}/cast/{given.part_of_path(name)}")).content

    def put_cast(self, job_id: str, cast: str | Mapping[str, Any]) -> JobView:
        """A whole cast.toml as text, or {"people": {"p1": {"source": {"images": [{"upload": ...}]}}}}."""
        return self._read(JobView, files.cast_call(job_id, cast))

    # ------------------------------------------------------------ results

    def report(self, job_id: str) -> dict[str, Any]:
        return self._json(f"{calls.job(job_id)}/report")

    def quality(self, job_id: str) -> dict[str, Any]:
        """How good the faces are, as lines over time, of a job that was to measure it."""
        return self._json(f"{calls.job(job_id)}/quality")

    def preview(self, job_id: str, at: float = 0.0, *, side: Side = "after", width: int = 960) -> bytes:
        """A JPEG of the frame that is shown `at` seconds into the film, as it was or as it is now."""
        return self._send(calls.preview(job_id, at, side, width)).content

    # ------------------------------------------------------------ the tenant's

    def me(self) -> Me:
        return self._get(Me, "/v1/me")

    def make_webhook(self, url: str, *, job_id: str | None = None, states: Sequence[str] = ()) -> WebhookView:
        """Have `url` told of a job, or of all; the answer has the secret that signs, once."""
        return self._read(WebhookView, calls.make_webhook(url, job_id, states))

    def webhooks(self) -> list[WebhookView]:
        return self._get(Items[WebhookView], "/v1/webhooks").items

    def remove_webhook(self, webhook_id: str) -> None:
        self._send(Call("DELETE", f"/v1/webhooks/{given.part_of_path(webhook_id)}"))

    def deliveries(self, webhook_id: str | None = None) -> Iterator[DeliveryView]:
        """What was sent, what waits and what was given up, page after page."""
        yield from self._all(DeliveryView, lambda cursor: calls.list_deliveries(webhook_id, cursor))

    def make_key(self, name: str, scopes: Sequence[str], *, expires_in_s: int | None = None) -> KeyView:
        """A key of the same tenant; the answer has it whole, as `secret`, once."""
        return self._read(KeyView, calls.make_key(name, scopes, expires_in_s))

    def keys(self) -> list[KeyView]:
        return self._get(Items[KeyView], "/v1/keys").items

    def revoke_key(self, key_id: str) -> KeyView:
        return self._read(KeyView, Call("DELETE", f"/v1/keys/{given.part_of_path(key_id)}"))

    # ------------------------------------------------------------ inside

    def _read(self, model: type[M], call: Call) -> M:
        return calls.read(model, self._send(call).content)

    def _get(self, model: type[M], path: str) -> M:
        return self._read(model, Call("GET", path))

    def _json(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = json_text.loads(self._send(Call("GET", path)).content)
        return found

    def _all(self, model: type[M], page: Callable[[str | None], Call]) -> Iterator[M]:
        """The items of a list, page after page."""
        cursor: str | None = None
        while True:
            here = self._read(Items[model], page(cursor))  # type: ignore[valid-type]
            yield from here.items
            cursor = here.next
            if cursor is None:
                return
