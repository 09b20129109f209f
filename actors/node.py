"""Is this machine about to be taken away? Asked of the cloud's metadata service, every few seconds, on each node.

AWS: IMDSv2 (a token by PUT, then GETs with it). `spot/instance-action` is 404 until the two-minute notice, then
{"action": "terminate", "time": "2026-01-01T00:02:00Z"}. `events/recommendations/rebalance` only says that the risk is
higher than it was; a segment is short, so nothing is done about it.
Google: GET with "Metadata-Flavor: Google"; `instance/preempted` is FALSE until the notice of 30 s.
Sources: EC2 user guide "Spot Instance interruption notices"; Compute Engine "Preemption process".
"""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

OFF = "off"
AUTO = "auto"  # where the machine's maker is a cloud that has one
LINK_LOCAL = "http://169.254.169.254"
VENDOR = Path("/sys/class/dmi/id/sys_vendor")
CLOUDS = ("Amazon EC2", "Google")

POLL_S = 5.0
ASK_S = 2.0  # the service is on the machine's own network; the notice is worth more than its answer
TOKEN_S = 21_600
TRIES = 3  # before a machine counts as one without the service, where nothing says that it has one
AWS_NOTICE_S = 120.0
GOOGLE_NOTICE_S = 30.0

Flavour = Literal["aws", "google"]


@dataclass(frozen=True)
class Notice:
    """The machine goes in `left_s`; `what` are the cloud's own words."""

    left_s: float
    what: str


class Silent(Exception):
    """The metadata service gave no answer, or none that means anything."""


def service_at(address: str, vendor: Path = VENDOR) -> str:
    """Where the service is for `address` (a URL, "auto" or "off"); "" where there is none to ask."""
    if address == OFF:
        return ""
    if address != AUTO:
        return address.rstrip("/")
    try:
        maker = vendor.read_text().strip()
    except OSError:
        return ""
    return LINK_LOCAL if maker.startswith(CLOUDS) else ""


class Metadata:
    """The metadata service at one address, of whichever cloud answers there."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._flavour: Flavour | None = None
        self._token = ""
        self._token_until_s = 0.0

    def notice(self) -> Notice | None:
        """The notice, if there is one. Raises `Silent`."""
        if self._flavour is None:
            self._flavour = self._find_out()
        return self._google() if self._flavour == "google" else self._aws()

    def _find_out(self) -> Flavour:
        """Google's service says so in every answer; AWS's is the one that gives tokens."""
        status, _, headers = self._ask("GET", "/computeMetadata/v1/", {"Metadata-Flavor": "Google"})
        if status == http.client.OK and headers.get("Metadata-Flavor") == "Google":
            return "google"
        self._renew()
        return "aws"

    def _aws(self) -> Notice | None:
        if time.monotonic() >= self._token_until_s:
            self._renew()
        path = "/latest/meta-data/spot/instance-action"
        status, body, _ = self._ask("GET", path, {"X-aws-ec2-metadata-token": self._token})
        if status == http.client.NOT_FOUND:
            return None
        if status == http.client.UNAUTHORIZED:
            self._token_until_s = 0.0  # it ran out early: the machine slept
        if status != http.client.OK:
            raise Silent(f"{path}: {status}")
        return aws_notice(body)

    def _renew(self) -> None:
        seconds = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_S)}
        status, body, _ = self._ask("PUT", "/latest/api/token", seconds)
        if status != http.client.OK or not body:
            raise Silent(f"no token: {status}")
        self._token = body
        self._token_until_s = time.monotonic() + TOKEN_S / 2

    def _google(self) -> Notice | None:
        path = "/computeMetadata/v1/instance/preempted"
        status, body, _ = self._ask("GET", path, {"Metadata-Flavor": "Google"})
        if status != http.client.OK:
            raise Silent(f"{path}: {status}")
        return Notice(GOOGLE_NOTICE_S, "preempted") if body.strip() == "TRUE" else None

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str, Mapping[str, str]]:
        request = urllib.request.Request(self._address + path, method=method, headers=headers)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy has another machine's service
        try:
            with direct.open(request, timeout=ASK_S) as answer:
                return answer.status, answer.read(65_536).decode("utf-8", "replace"), dict(answer.headers)
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, "", {}
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Silent(f"{path}: {error}") from error


def aws_notice(body: str) -> Notice:
    """The notice in `body`. One that cannot be read is a notice all the same, with all of its two minutes."""
    try:
        told = json.loads(body)
        at = datetime.fromisoformat(str(told["time"]))
        left_s = (at - datetime.now(UTC)).total_seconds()
        return Notice(min(max(left_s, 0.0), AWS_NOTICE_S), str(told["action"]))
    except (ValueError, KeyError, TypeError):
        return Notice(AWS_NOTICE_S, "instance-action")


class NoticeWatch:
    """Waits for the notice of this machine."""

    def __init__(self, address: str, *, poll_s: float = POLL_S, vendor: Path = VENDOR) -> None:
        self._address = service_at(address, vendor)
        self._surely = address == AUTO  # then the machine's maker said that there is one
        self._poll_s = poll_s
        self._over = threading.Event()

    def wait(self) -> Notice | None:
        """The notice, once it is given; None where no service answers, and after `stop`.

        A service that answered once is asked for ever, and so is that of a cloud's machine, however long it is silent.
        """
        if not self._address:
            return None
        service = Metadata(self._address)
        tries, answered = 0, False
        while not self._over.is_set() and (self._surely or answered or tries < TRIES):
            tries += 1
            with suppress(Silent):
                notice = service.notice()
                answered = True
                if notice is not None:
                    return notice
            self._over.wait(self._poll_s)
        return None

    def stop(self) -> None:
        self._over.set()
