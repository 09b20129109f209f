"""The service with `await`: as farm.client.sync, method by method."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from core.errors import FarmError, InputError
from core.records import JobSpec
from farm.client import calls, files, given, retry, sse
from farm.client.asks_aio import AsyncAsks
from farm.client.calls import (
    Call,
    JobEvent,
    JobView,
    PartList,
    PartView,
    ServiceError,
    UploadView,
)

SILENT_S = 60.0  # a stream that says nothing for so long is dead: it says "still here" every 15 s


class AsyncFarm(AsyncAsks):
    """A service at `url`, with an API key. Every method raises FarmError; `tries` is how often a call is tried."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout_s: float = 30.0,
        tries: int = 8,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._tries = tries
        self._transport = transport
        self._draw = random.Random()
        self._http = httpx.AsyncClient(
            base_url=given.base_url(url),
            headers=given.bearer(key),
            timeout=httpx.Timeout(timeout_s),
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    # ------------------------------------------------------------ jobs

    async def submit(
        self,
        target: str | Path,
        *,
        source: str | Path | None = None,
        swapper: str | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> JobView:
        """Send a film and a face and ask for a job; `options` are the fields of POST /v1/jobs.

        With an `idempotency_key` a file that the service has already is not sent again: the same files and options
        are the same job, however often they are sent.
        """
        again = idempotency_key is not None
        place = await self._place(target, "target", again)
        body: dict[str, Any] = {"target": place, **options}
        if source is not None:
            body["source"] = {"images": [await self._place(source, "source", again)]}
        if swapper is not None:
            body["swapper"] = swapper
        return await self.submit_body(body, idempotency_key=idempotency_key)

    async def submit_spec(self, spec: JobSpec, *, idempotency_key: str | None = None, **more: Any) -> JobView:
        """Send the files of a JobSpec (the options of `farm render`) and ask for the job; the key as in `submit`."""
        again = idempotency_key is not None
        uploaded = {path: await self._sent(path, purpose, again) for purpose, path in calls.files_of(spec)}
        return await self.submit_body(calls.job_body(spec, uploaded, **more), idempotency_key=idempotency_key)

    async def submit_body(self, body: Mapping[str, Any], *, idempotency_key: str | None = None) -> JobView:
        """Ask for a job whose files are there. A fresh key, where none is given, makes it safe to repeat."""
        key = idempotency_key or secrets.token_hex(16)
        return calls.read(JobView, (await self._send(calls.submit_job(body, key))).content)

    # ------------------------------------------------------------ as it happens

    async def events(self, job_id: str, *, after: int = 0) -> AsyncIterator[JobEvent]:
        """Events after number `after`, and snapshots between them, until the job has ended; through restarts."""
        reader = sse.Reader(last_id=str(after))
        failed, where = 0, str(self._http.base_url)
        while True:
            reader.begin()
            told_s, problem = 0.0, files.silent(where)
            call = Call("GET", f"{calls.job(job_id)}/events", headers={"Last-Event-ID": reader.last_id})
            try:
                async with self._http.stream(
                    "GET", call.path, headers=dict(call.headers), timeout=httpx.Timeout(SILENT_S)
                ) as answer:
                    if answer.status_code != httpx.codes.OK:
                        await answer.aread()
                        problem = calls.refusal(answer.status_code, answer.content, where)
                        if not retry.again(call, answer):
                            raise problem
                        told_s = retry.told_wait(answer)
                    else:
                        async for line in answer.aiter_lines():
                            message = reader.line(line)
                            if message is not None or line.startswith(":"):  # ":" is "still here"
                                failed = 0
                            if message is None:
                                continue
                            if message.event in files.LAST:
                                return
                            yield files.event_of(message)
            except httpx.TransportError:
                pass
            failed += 1
            if failed > self._tries:
                raise problem
            await asyncio.sleep(max(told_s, min(retry.MOST_S, retry.FIRST_S * 2**failed)))

    async def watch(self, job_id: str) -> AsyncIterator[JobView]:
        """The job whenever it changed, until it has ended."""
        async for event in self.events(job_id):
            if event.job is not None:
                yield event.job

    async def wait(self, job_id: str, *, until: Callable[[JobView], bool] | None = None) -> JobView:
        """The job when it has ended, or when `until` says so."""
        async for now in self.watch(job_id):
            if until is not None and until(now):
                return now
        return await self.job(job_id)

    # ------------------------------------------------------------ files

    async def upload(
        self, path: str | Path, purpose: str = "target", *, told: Callable[[int, int], None] | None = None
    ) -> UploadView:
        """Send a file, from where it broke off; `told` hears bytes sent and bytes in all."""
        file = files.readable(Path(path))
        row = calls.read(UploadView, (await self._send(calls.announce(purpose, file))).content)
        if "parts" in row.links:
            return await self._upload_parts(file, row, told)
        patience = files.Patience(self._tries, self._draw)
        while row.state == "open":
            files.unchanged(file, row)
            sent = row.received_bytes
            call = files.send_call(row.id, sent)
            try:
                with file.open("rb") as source:
                    content = files.pieces_of(source, sent, row.size_bytes, told)
                    answer = await self._http.request(
                        call.method, call.path, content=content, headers=dict(call.headers)
                    )
                failure: httpx.Response | httpx.TransportError = answer
                if answer.is_success:
                    row = calls.read(UploadView, answer.content)
                    problem: FarmError = files.in_part(file)
                else:
                    problem = calls.refusal(answer.status_code, answer.content, str(file))
                    if answer.status_code not in files.GO_ON and not retry.again(call, answer):
                        raise problem
            except httpx.TransportError as error:
                problem, failure = files.broken(error, file), error
            if row.state != "open":
                break
            wait_s = patience.wait_s(row, sent, failure)
            if wait_s is None:
                raise problem
            await asyncio.sleep(wait_s)
            row = await self._get(UploadView, f"/v1/uploads/{row.id}")
            if row.received_bytes > sent:
                patience.anew()
        return files.taken(row, file)

    async def download(self, job_id: str, path: str | Path) -> Path:
        """The finished film, whole and checked, as `path`; a part is gone on with."""
        target = Path(path)
        made = (await self.job(job_id)).result
        if made is None:
            raise InputError(f"job {job_id} has no result", hint="wait until it has succeeded")
        part = files.Part(target, made.sha256, made.size_bytes)
        waits = retry.waits(self._tries, self._draw)
        most = part.here
        while not part.whole:
            call = Call("GET", f"{calls.job(job_id)}/result", headers=part.range())
            try:
                async with self._http.stream(
                    "GET", call.path, headers=dict(call.headers), follow_redirects=True
                ) as answer:
                    if answer.is_success:
                        fresh = answer.status_code != httpx.codes.PARTIAL_CONTENT
                        async for piece in answer.aiter_bytes(files.PIECE_BYTES):
                            await asyncio.to_thread(part.write, piece, fresh=fresh)
                            fresh = False
                        continue
                    await answer.aread()
                    problem = calls.refusal(answer.status_code, answer.content, str(target))
                    if not retry.again(call, answer):
                        raise problem
            except httpx.TransportError as error:
                problem = ServiceError(f"the connection broke: {error}", where=str(target), hint="fetch it again")
            if part.here > most:  # it gets on: a line that breaks often is no end
                waits, most = retry.waits(self._tries, self._draw), part.here
            wait_s = next(waits, None)
            if wait_s is None:
                raise problem
            await asyncio.sleep(wait_s)
        return await asyncio.to_thread(part.publish)

    # ------------------------------------------------------------ inside

    async def _upload_parts(self, file: Path, row: UploadView, told: Callable[[int, int], None] | None) -> UploadView:
        """Put all parts; then the service looks. What it misses then, as a part whose second copy broke off, is put
        again."""
        head = files.head_call(file, row)
        if head is not None:
            row = calls.read(UploadView, (await self._send(head)).content)
        sent = files.Sent(row.size_bytes, told)
        await self._put_parts(file, row, sent)
        sha256 = await asyncio.to_thread(files.sha256_of, file)
        waits = retry.waits(self._tries, self._draw)
        while row.state == "open":
            answer = await self._send(calls.finish_upload(row.id, sha256), also=files.UNFINISHED)
            if answer.is_success:
                row = calls.read(UploadView, answer.content)
                if row.state == "open":
                    await asyncio.sleep(max(retry.FIRST_S, retry.told_wait(answer)))
                continue
            wait_s = next(waits, None)
            if wait_s is None:
                raise calls.refusal(answer.status_code, answer.content, str(self._http.base_url))
            await asyncio.sleep(wait_s)
            await self._put_parts(file, row, sent)
        return files.taken(row, file)

    async def _put_parts(self, file: Path, row: UploadView, sent: files.Sent) -> None:
        """Put what is not there yet, several parts at once, until all of it is."""
        waits, here = retry.waits(self._tries, self._draw), -1
        room = asyncio.Semaphore(files.PARTS_AT_ONCE)
        async with httpx.AsyncClient(timeout=self._http.timeout, transport=self._transport) as bucket:  # gets no key
            while True:
                left = calls.read(PartList, (await self._send(calls.list_parts(row.id))).content)
                if not left.items:
                    return
                files.unchanged(file, row)
                if left.received_bytes > here:
                    waits = retry.waits(self._tries, self._draw)
                stands, here = left.received_bytes <= here, left.received_bytes
                sent.begin(left.received_bytes)
                wave = files.Wave(file)
                put = partial(self._put_part, bucket, room, file, row.id, sent, wave)
                await asyncio.gather(*map(put, left.items))
                if wave.failed or stands:
                    wait_s = next(waits, None)
                    if wait_s is None:
                        raise wave.failed[0] if wave.failed else files.in_part(file)
                    await asyncio.sleep(max(wait_s, wave.told_s))

    async def _put_part(
        self,
        bucket: httpx.AsyncClient,
        room: asyncio.Semaphore,
        file: Path,
        upload_id: str,
        sent: files.Sent,
        wave: files.Wave,
        part: PartView,
    ) -> None:
        async with room:
            if wave.over:
                return
            content = files.part_pieces_of(file, part, sent.more)
            headers = {"Content-Length": str(part.size_bytes)}
            own = calls.part_path(upload_id, part)
            http = self._http if own else bucket
            try:
                answer = await http.put(own or part.url, content=content, headers=headers)
            except httpx.TransportError as error:
                wave.broke(error)
            else:
                wave.answered(answer, own=own is not None)

    async def _place(self, path: str | Path, purpose: str, again: bool) -> dict[str, str]:
        if str(path).startswith("s3://"):
            return {"url": str(path)}
        return {"upload": await self._sent(path, purpose, again)}

    async def _sent(self, path: str | Path, purpose: str, again: bool) -> str:
        """The id of an upload of the file; `again`: of the oldest that the service has, where it has one."""
        found: str | None = None
        if again:
            known = await asyncio.to_thread(files.Known.of, files.readable(Path(path)), purpose)
            async for row in self._all(UploadView, calls.list_uploads):
                found = row.id if known.fits(row) else found
        return found or (await self.upload(path, purpose)).id

    async def _send(self, call: Call, also: Collection[int] = ()) -> httpx.Response:
        """One call, tried again as farm.client.retry says; an answer of a status in `also` is the caller's."""
        waits = retry.waits(self._tries, self._draw)
        while True:
            answer: httpx.Response | None = None
            failure: httpx.TransportError | None = None
            try:
                answer = await self._http.request(
                    call.method,
                    call.path,
                    json=call.json,
                    content=call.content,
                    params=list(call.query) or None,
                    headers=dict(call.headers),
                )
            except httpx.TransportError as error:
                failure = error
            except (httpx.InvalidURL, UnicodeError):
                raise given.unsendable(call.method, call.path) from None
            if answer is not None and (answer.is_success or answer.status_code in also):
                return answer
            wait_s = next(waits, None) if retry.again(call, answer) or files.not_reached(failure) else None
            if wait_s is None:
                where = str(self._http.base_url)
                if answer is not None:
                    raise calls.refusal(answer.status_code, answer.content, where)
                raise ServiceError(f"the service does not answer ({failure})", where=where, hint="is it running?")
            await asyncio.sleep(max(wait_s, retry.told_wait(answer)))
