"""A small web server on this machine that answers as model hosts do: ranges, validators, redirects, broken lines."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """`files` by path. `cut`: how many bytes of each of the next answers are sent before the line is closed.
    `busy`: that many answers are 503 first. `moved`: redirects. `asked` lists what was asked for: path, Range."""

    files: dict[str, bytes] = field(default_factory=dict)
    etag: str = '"1"'
    cut: list[int] = field(default_factory=list)
    busy: int = 0
    moved: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    """The site at `site.url`, without a final slash, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            site.asked.append((self.path, self.headers.get("Range")))
            if site.busy:
                site.busy -= 1
                self.plain(503)
            elif self.path in site.moved:
                self.plain(302, {"Location": site.moved[self.path]})
            elif self.path not in site.files:
                self.plain(404)
            else:
                self.file(site.files[self.path])

        def plain(self, code: int, headers: dict[str, str] | None = None) -> None:
            self.send_response(code)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def file(self, data: bytes) -> None:
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            first = int(asked[1]) if asked and self.headers.get("If-Range") == site.etag else 0
            if first > len(data):
                self.plain(416)
                return
            self.send_response(206 if first else 200)
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - first))
            if site.etag:
                self.send_header("ETag", site.etag)
            self.end_headers()
            rest = data[first:]
            if site.cut:
                self.wfile.write(rest[: site.cut.pop(0)])
                self.close_connection = True
            else:
                self.wfile.write(rest)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
