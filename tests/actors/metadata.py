"""A cloud's metadata service, as far as the farm asks it: AWS's IMDSv2, or Google's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Service:
    """`asked` are the paths, in order. `broken` answers with 500, as a service does that is overloaded."""

    def __init__(self, *, google: bool = False) -> None:
        self.google = google
        self.broken = False
        self.action: dict[str, str] | str | None = None
        self.preempted = False
        self.token = "token-1"
        self.asked: list[str] = []
        self.address = ""

    def take_away(self, *, in_s: float) -> None:
        at = datetime.now(UTC) + timedelta(seconds=in_s)
        self.action = {"action": "terminate", "time": at.strftime("%Y-%m-%dT%H:%M:%SZ")}
        self.preempted = True

    def answer(self, method: str, path: str, headers: Any) -> tuple[int, str]:
        self.asked.append(f"{method} {path}")
        if self.broken:
            return 500, ""
        return self._google(path, headers) if self.google else self._aws(method, path, headers)

    def _google(self, path: str, headers: Any) -> tuple[int, str]:
        if headers.get("Metadata-Flavor") != "Google":
            return 403, ""
        known = {"/computeMetadata/v1/": "", "/computeMetadata/v1/instance/preempted": str(self.preempted).upper()}
        return (200, known[path]) if path in known else (404, "")

    def _aws(self, method: str, path: str, headers: Any) -> tuple[int, str]:
        if (method, path) == ("PUT", "/latest/api/token"):
            return (200, self.token) if headers.get("X-aws-ec2-metadata-token-ttl-seconds") else (400, "")
        if headers.get("X-aws-ec2-metadata-token") != self.token:
            return 401, ""
        if path == "/latest/meta-data/spot/instance-action" and self.action is not None:
            return 200, self.action if isinstance(self.action, str) else json.dumps(self.action)
        return 404, ""


@contextmanager
def metadata_service(*, google: bool = False) -> Iterator[Service]:
    service = Service(google=google)

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            status, body = service.answer(self.command, self.path, self.headers)
            self.send_response(status)
            if service.google:
                self.send_header("Metadata-Flavor", "Google")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_PUT = reply  # noqa: N815 - the names that http.server looks for

        def log_message(self, format: str, *args: object) -> None:
            assert format or args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    service.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
