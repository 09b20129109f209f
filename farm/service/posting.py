"""Telling webhooks: signed, at least once, with one id for every try, and never to an address that is not public.

Signatures are those of the Standard Webhooks specification (standardwebhooks.com, v1): `webhook-id`,
`webhook-timestamp` in seconds, and `webhook-signature: v1,<base64>`, the HMAC-SHA256 of "<id>.<timestamp>.<body>" under
the bytes that follow `whsec_` in base64url. Any answer 2xx is success; redirects are not followed. A try that fails is
repeated after `WAITS_S`, spread by a fifth; 410 Gone ends the webhook and all its letters, and after the last wait the
letter is dead. Of each tenant `A_TENANT` letters are under way at most: whose receivers are slow waits for them alone.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import logging
import random
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType

import sqlalchemy as sql
from sqlalchemy import Connection

from core.errors import FarmError
from farm.service import tables
from farm.service.database import Database
from farm.service.guard import STRICT, Resolve, Rules, Target, resolve_name, target_of
from farm.service.webhooks import drop

log = logging.getLogger("farm.service")
delivery, hook = tables.deliveries.c, tables.webhooks.c
WAITS_S = (5, 30, 120, 600, 3600, 6 * 3600, 24 * 3600)
SPREAD = 0.2
CLAIM_MS = 60_000  # more than one try takes: who claimed a letter and died gives it up
CONNECT_S = 5.0
WHOLE_S = 15.0
GONE = 410
AT_ONCE = 32
A_TENANT = 8
WAITING: sql.ColumnElement[str] = sql.literal_column("'waiting'")
NONE: Mapping[str, int] = MappingProxyType({})
USER_AGENT = "farm-webhooks/1"


@dataclass(frozen=True)
class Letter:
    """One delivery that is due, and where it goes."""

    id: str
    webhook: str
    url: str
    secret: str
    body: str
    tries: int
    tenant: str = ""


@dataclass(frozen=True)
class Answer:
    """What became of a try: the HTTP status, or None and why there is none."""

    status: int | None
    error: str = ""

    @property
    def taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def signature(secret: str, letter_id: str, timestamp: int, body: str) -> str:
    """What `webhook-signature` says."""
    text = secret.removeprefix("whsec_")
    key = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    mac = hmac.new(key, f"{letter_id}.{timestamp}.{body}".encode(), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(mac).decode()}"


def claim(db: Database, most: int = AT_ONCE, *, under_way: Mapping[str, int] = NONE) -> list[Letter]:
    """Letters that are due, claimed: nobody else sends them for `CLAIM_MS`. Each counts as tried.

    The tenants take turns, and none has more than `A_TENANT` with those that are `under_way`. Letters of webhooks that
    are off are nobody's. What it costs does not grow with the letters that wait.
    """
    with db.read() as connection:
        tenants = _in_turn(connection, db.now_ms(connection), most, under_way)
    if not tenants:
        return []
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        first: list[tuple[int, int, str]] = []
        for tenant in tenants:
            room = min(most, A_TENANT - under_way.get(tenant, 0))
            mine = sql.select(delivery.next_ms, delivery.id).where(*_due(now_ms), delivery.tenant == tenant)
            in_order = mine.order_by(delivery.next_ms, delivery.id).limit(room)
            locked = in_order.with_for_update(skip_locked=True, of=tables.deliveries)
            first += [(place, row.next_ms, row.id) for place, row in enumerate(connection.execute(locked).all())]
        names = [name for _, _, name in sorted(first)[:most]]
        if not names:
            return []
        taken = sql.update(tables.deliveries).where(delivery.id.in_(names))
        connection.execute(taken.values(next_ms=now_ms + CLAIM_MS, tries=delivery.tries + 1))
        asked = (
            sql.select(
                *(delivery.id, delivery.webhook, hook.url, hook.secret, delivery.body, delivery.tries, delivery.tenant)
            )
            .join(tables.webhooks, hook.id == delivery.webhook)
            .where(delivery.id.in_(names))
            .order_by(delivery.next_ms, delivery.id)
        )
        return [Letter(*row) for row in connection.execute(asked)]


def _due(now_ms: int) -> list[sql.ColumnElement[bool]]:
    """Of a letter: to be sent now. The state stands in the statement's text, where a database sees that an index over
    what waits alone will do; webhooks are looked up one by one, so that the letters are read in that index's order."""
    live = sql.select(hook.id).where(hook.id == delivery.webhook, hook.off_ms.is_(None)).exists()
    return [delivery.state == WAITING, delivery.next_ms <= now_ms, live]


def _in_turn(connection: Connection, now_ms: int, most: int, under_way: Mapping[str, int]) -> list[str]:
    """At most `most` tenants who have letters that are due and room for them, whose waits longest first."""
    known = tables.tenants.c
    full = sorted(name for name, count in under_way.items() if count >= A_TENANT)
    oldest = (
        sql.select(delivery.next_ms)
        .where(*_due(now_ms), delivery.tenant == known.id)
        .order_by(delivery.next_ms)
        .limit(1)
        .correlate(tables.tenants)
        .scalar_subquery()
    )
    heads = sql.select(known.id, oldest.label("at_ms")).where(known.id.not_in(full)).subquery()
    asked = sql.select(heads.c.id).where(heads.c.at_ms.is_not(None)).order_by(heads.c.at_ms, heads.c.id).limit(most)
    return [str(name) for name in connection.execute(asked).scalars()]


def over(letter: Letter, answer: Answer) -> bool:
    """Whether a letter that was not taken is not sent again."""
    return answer.status == GONE or letter.tries > len(WAITS_S)


def settle(db: Database, letter: Letter, answer: Answer, *, chance: Callable[[], float] = random.random) -> None:
    """Write down what became of a try, and when the next one is. What was removed meanwhile stays so."""
    mine = [delivery.id == letter.id, delivery.state == "waiting"]
    told = {"last_status": answer.status, "last_error": answer.error[:500]}
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        if answer.taken:
            values = {"state": "delivered", **told, "last_error": ""}
        elif over(letter, answer):
            values = {"state": "dead", **told}
        else:
            wait_s = WAITS_S[letter.tries - 1] * (1 + SPREAD * (2 * chance() - 1))
            values = {"next_ms": now_ms + round(1000 * wait_s), **told}
        connection.execute(sql.update(tables.deliveries).where(*mine).values(values))
        if answer.status == GONE:
            off = sql.update(tables.webhooks).where(hook.id == letter.webhook, hook.off_ms.is_(None))
            connection.execute(off.values(off_ms=now_ms, url="", secret=""))
            drop(connection, letter.webhook, "the webhook answered 410: it is gone")


def send(letter: Letter, rules: Rules = STRICT, *, resolve: Resolve = resolve_name, whole_s: float = WHOLE_S) -> Answer:
    """Try once: `whole_s` at most, whatever the other side does. Never raises."""
    try:
        target = target_of(letter.url, rules, resolve)
    except FarmError as error:
        return Answer(None, str(error))
    timestamp = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": letter.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(letter.secret, letter.id, timestamp, letter.body),
    }
    connection = _connection(target, rules.ca)
    late = threading.Event()
    timer = threading.Timer(whole_s, _cut, [connection, late])
    timer.daemon = True
    timer.start()
    try:
        connection.request("POST", target.path, body=letter.body.encode(), headers=headers)
        status = connection.getresponse().status
        if not late.is_set():  # a call that was cut may look like an answer that ended early
            return Answer(status, "" if 200 <= status < 300 else f"the other side answered {status}")
        why = ""
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
    finally:
        timer.cancel()
        connection.close()
    told = f"no answer within {whole_s:g} s" if late.is_set() else why
    return Answer(None, " ".join(told.split()))


class _Plain(http.client.HTTPConnection):
    """Connects to the address that was checked, whatever the name means by now."""

    def __init__(self, target: Target) -> None:
        super().__init__(target.host, target.port, timeout=CONNECT_S)
        self._target = target

    def connect(self) -> None:
        self.sock = socket.create_connection((self._target.address, self._target.port), CONNECT_S)


class _Secure(_Plain):
    """TLS with the name of the address, whose certificate must be valid for it and come from an authority that the
    system trusts, or of the file `ca`."""

    default_port = http.client.HTTPS_PORT

    def __init__(self, target: Target, ca: str) -> None:
        super().__init__(target)
        self._ca = ca

    def connect(self) -> None:
        super().connect()
        context = ssl.create_default_context()
        if self._ca:
            context.load_verify_locations(self._ca)
        # The handshake comes after the socket is known: `_cut` ends it too.
        self.sock = context.wrap_socket(self.sock, server_hostname=self._target.host, do_handshake_on_connect=False)
        self.sock.do_handshake()


def _connection(target: Target, ca: str) -> http.client.HTTPConnection:
    return _Secure(target, ca) if target.scheme == "https" else _Plain(target)


def _cut(connection: http.client.HTTPConnection, late: threading.Event) -> None:
    """End a call that takes too long, in the middle of whatever it waits for."""
    late.set()
    sock = connection.sock
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


class Postman:
    """Sends what is due, on threads of its own; any number of them may work on one database."""

    def __init__(
        self,
        db: Database,
        rules: Rules = STRICT,
        *,
        every_s: float = 1.0,
        resolve: Resolve = resolve_name,
        tried: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`tried` hears what became of each try: taken, failed, dead."""
        self._tried = tried
        self._db, self._rules, self._every_s, self._resolve = db, rules, every_s, resolve
        self._over, self._done = threading.Event(), threading.Event()
        self._under_way: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._main, name="postman", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._done.set()
        if self._thread.ident is not None:
            self._thread.join(WHOLE_S + CONNECT_S)

    def _main(self) -> None:
        with ThreadPoolExecutor(AT_ONCE, "webhook") as threads:
            while not self._over.is_set():
                self._done.clear()
                try:
                    found = self._begin(threads)
                except FarmError as error:
                    found = False
                    log.warning("webhooks: %s", error)
                except Exception:  # the next round may be better
                    found = False
                    log.exception("webhooks: a round failed")
                if not found:  # a letter that is done with makes room for the next of its tenant
                    self._done.wait(self._every_s)

    def _begin(self, threads: ThreadPoolExecutor) -> bool:
        """Send what is due and has room; whether anything was."""
        with self._lock:
            under_way = Counter(self._under_way)
        if under_way.total() >= AT_ONCE:
            return False
        letters = claim(self._db, AT_ONCE - under_way.total(), under_way=under_way)
        with self._lock:
            self._under_way.update(letter.tenant for letter in letters)
        for letter in letters:
            threads.submit(self._post, letter)
        return bool(letters)

    def _post(self, letter: Letter) -> None:
        try:
            answer = send(letter, self._rules, resolve=self._resolve)
            self._tried("taken" if answer.taken else "dead" if over(letter, answer) else "failed")
            settle(self._db, letter, answer)
        except FarmError as error:  # it is sent again when the claim runs out
            log.warning("webhook %s: %s", letter.id, error)
        except Exception:
            log.exception("webhook %s", letter.id)
        finally:
            with self._lock:
                self._under_way[letter.tenant] -= 1
            self._done.set()
