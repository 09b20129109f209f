"""The service, one call after the other."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from core.errors import FarmError, InputError
from core.records import JobSpec
from farm.client import calls, files, given, retry, sse
from farm.client.asks import Asks
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


class Farm(Asks):
    """A service at `url`, with an API key. Every method raises FarmError; `tries` is how often a call is tried."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout_s: float = 30.0,
        tries: int = 8,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._tries = tries
        self._transport = transport
        self._draw = random.Random()
        self._http = httpx.Client(
            base_url=given.base_url(url),
            headers=given.bearer(key),
            timeout=httpx.Timeout(timeout_s),
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # ------------------------------------------------------------ jobs

    def submit(
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
        place = self._place(target, "target", again)
        body: dict[str, Any] = {"target": place, **options}
        if source is not None:
            body["source"] = {"images": [self._place(source, "source", again)]}
        if swapper is not None:
            body["swapper"] = swapper
        return self.submit_body(body, idempotency_key=idempotency_key)

    def submit_spec(self, spec: JobSpec, *, idempotency_key: str | None = None, **more: Any) -> JobView:
        """Send the files of a JobSpec (the options of `farm render`) and ask for the job; the key as in `submit`."""
        again = idempotency_key is not None
        uploaded = {path: self._sent(path, purpose, again) for purpose, path in calls.files_of(spec)}
        return self.submit_body(calls.job_body(spec, uploaded, **more), idempotency_key=idempotency_key)

    def submit_body(self, body: Mapping[str, Any], *, idempotency_key: str | None = None) -> JobView:
        """Ask for a job whose files are there. A fresh key, where none is given, makes it safe to repeat."""
        key = idempotency_key or secrets.token_hex(16)
        return calls.read(JobView, self._send(calls.submit_job(body, key)).content)

    # ------------------------------------------------------------ as it happens

    def events(self, job_id: str, *, after: int = 0) -> Iterator[JobEvent]:
        """Events after number `after`, and snapshots between them, until the job has ended; through restarts."""
        reader = sse.Reader(last_id=str(after))
        failed, where = 0, str(self._http.base_url)
        while True:
            reader.begin()
            told_s, problem = 0.0, files.silent(where)
            call = Call("GET", f"{calls.job(job_id)}/events", headers={"Last-Event-ID": reader.last_id})
            try:
                with self._http.stream(
                    "GET", call.path, headers=dict(call.headers), timeout=httpx.Timeout(SILENT_S)
                ) as answer:
                    if answer.status_code != httpx.codes.OK:
                        answer.read()
                        problem = calls.refusal(answer.status_code, answer.content, where)
                        if not retry.again(call, answer):
                            raise problem
                        told_s = retry.told_wait(answer)
                    else:
                        for line in answer.iter_lines():
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
            time.sleep(max(told_s, min(retry.MOST_S, retry.FIRST_S * 2**failed)))

    def watch(self, job_id: str) -> Iterator[JobView]:
        """The job whenever it changed, until it has ended."""
        for event in self.events(job_id):
            if event.job is not None:
                yield event.job

    def wait(self, job_id: str, *, until: Callable[[JobView], bool] | None = None) -> JobView:
        """The job when it has ended, or when `until` says so."""
        for now in self.watch(job_id):
            if until is not None and until(now):
                return now
        return self.job(job_id)

    # ------------------------------------------------------------ files

    def upload(
        self, path: str | Path, purpose: str = "target", *, told: Callable[[int, int], None] | None = None
    ) -> UploadView:
        """Send a file, from where it broke off; `told` hears bytes sent and bytes in all."""
        file = files.readable(Path(path))
        row = calls.read(UploadView, self._send(calls.announce(purpose, file)).content)
        if "parts" in row.links:
            return self._upload_parts(file, row, told)
        patience = files.Patience(self._tries, self._draw)
        while row.state == "open":
            files.unchanged(file, row)
            sent = row.received_bytes
            call = files.send_call(row.id, sent)
            try:
                with file.open("rb") as source:
                    content = files.pieces(source, sent, row.size_bytes, told)
                    answer = self._http.request(call.method, call.path, content=content, headers=dict(call.headers))
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
            time.sleep(wait_s)
            row = self._get(UploadView, f"/v1/uploads/{row.id}")
            if row.received_bytes > sent:
                patience.anew()
        return files.taken(row, file)

    def download(self, job_id: str, path: str | Path) -> Path:
        """The finished film, whole and checked, as `path`; a part is gone on with."""
        target = Path(path)
        made = self.job(job_id).result
        if made is None:
            raise InputError(f"job {job_id} has no result", hint="wait until it has succeeded")
        part = files.Part(target, made.sha256, made.size_bytes)
        waits = retry.waits(self._tries, self._draw)
        most = part.here
        while not part.whole:
            call = Call("GET", f"{calls.job(job_id)}/result", headers=part.range())
            try:
                with self._http.stream("GET", call.path, headers=dict(call.headers), follow_redirects=True) as answer:
                    if answer.is_success:
                        fresh = answer.status_code != httpx.codes.PARTIAL_CONTENT
                        for piece in answer.iter_bytes(files.PIECE_BYTES):
                            part.write(piece, fresh=fresh)
                            fresh = False
                        continue
                    answer.read()
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
            time.sleep(wait_s)
        return part.publish()

    # ------------------------------------------------------------ inside

    def _upload_parts(self, file: Path, row: UploadView, told: Callable[[int, int], None] | None) -> UploadView:
        """Put all parts; then the service looks. What it misses then, as a part whose second copy broke off, is put
        again."""
        head = files.head_call(file, row)
        if head is not None:
            row = calls.read(UploadView, self._send(head).content)
        sent = files.Sent(row.size_bytes, told)
        self._put_parts(file, row, sent)
        sha256 = files.sha256_of(file)
        waits = retry.waits(self._tries, self._draw)
        while row.state == "open":
            answer = self._send(calls.finish_upload(row.id, sha256), also=files.UNFINISHED)
            if answer.is_success:
                row = calls.read(UploadView, answer.content)
                if row.state == "open":
                    time.sleep(max(retry.FIRST_S, retry.told_wait(answer)))
                continue
            wait_s = next(waits, None)
            if wait_s is None:
                raise calls.refusal(answer.status_code, answer.content, str(self._http.base_url))
            time.sleep(wait_s)
            self._put_parts(file, row, sent)
        return files.taken(row, file)

    def _put_parts(self, file: Path, row: UploadView, sent: files.Sent) -> None:
        """Put what is not there yet, several parts at once, until all of it is."""
        waits, here = retry.waits(self._tries, self._draw), -1
        with (
            httpx.Client(timeout=self._http.timeout, transport=self._transport) as bucket,  # which gets no key
            ThreadPoolExecutor(files.PARTS_AT_ONCE) as pool,
        ):
            while True:
                left = calls.read(PartList, self._send(calls.list_parts(row.id)).content)
                if not left.items:
                    return
                files.unchanged(file, row)
                if left.received_bytes > here:
                    waits = retry.waits(self._tries, self._draw)
                stands, here = left.received_bytes <= here, left.received_bytes
                sent.begin(left.received_bytes)
                wave = files.Wave(file)
                put = partial(self._put_part, bucket, file, row.id, sent, wave)
                for _ in pool.map(put, left.items):
                    pass
                if wave.failed or stands:
                    wait_s = next(waits, None)
                    if wait_s is None:
                        raise wave.failed[0] if wave.failed else files.in_part(file)
                    time.sleep(max(wait_s, wave.told_s))

    def _put_part(
        self, bucket: httpx.Client, file: Path, upload_id: str, sent: files.Sent, wave: files.Wave, part: PartView
    ) -> None:
        if wave.over:
            return
        content = files.part_pieces(file, part, sent.more)
        headers = {"Content-Length": str(part.size_bytes)}
        own = calls.part_path(upload_id, part)
        try:
            answer = (self._http if own else bucket).put(own or part.url, content=content, headers=headers)
        except httpx.TransportError as error:
            wave.broke(error)
        else:
            wave.answered(answer, own=own is not None)

    def _place(self, path: str | Path, purpose: str, again: bool) -> dict[str, str]:
        if str(path).startswith("s3://"):
            return {"url": str(path)}
        return {"upload": self._sent(path, purpose, again)}

    def _sent(self, path: str | Path, purpose: str, again: bool) -> str:
        """The id of an upload of the file; `again`: of the oldest that the service has, where it has one."""
        found: str | None = None
        if again:
            known = files.Known.of(files.readable(Path(path)), purpose)
            for row in self._all(UploadView, calls.list_uploads):
                found = row.id if known.fits(row) else found
        return found or self.upload(path, purpose).id

    def _send(self, call: Call, also: Collection[int] = ()) -> httpx.Response:
        """One call, tried again as farm.client.retry says; an answer of a status in `also` is the caller's."""
        waits = retry.waits(self._tries, self._draw)
        while True:
            answer: httpx.Response | None = None
            failure: httpx.TransportError | None = None
            try:
                answer = self._http.request(
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
            time.sleep(max(wait_s, retry.told_wait(answer)))
