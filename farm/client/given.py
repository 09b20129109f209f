"""What a client is given by people, checked before it is sent: address, key, names. A key is in no message."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import httpx

from core.errors import InputError

TOKEN = re.compile(r"[\x21-\x7e]+")  # of what may stand in a header
MOST_LETTERS = 200  # of a file's name, for the service
MOST_ENDING = 20
UNPLAIN = re.compile(r"[\x00-\x1f\x7f/\\]")
MOST_PORT = 65535


def base_url(url: str) -> httpx.URL:
    """The address of a service, with or without a path that a proxy puts before it; blanks around it, as the end of a
    file has them, are no part of it. `InputError` for what is none: it says no name or password that stands in it."""
    text = url.strip()
    where = "" if "@" in text else ascii(text).strip("'") if text else ""
    wrong = InputError("this is no address of a service", where=where, hint="write http://HOST:PORT")
    try:
        made = httpx.URL(text.rstrip("/"))
        made.host.encode("idna")  # as the look-up of the name will
    except (httpx.InvalidURL, UnicodeError):
        raise wrong from None
    if made.scheme not in {"http", "https"} or not made.host or set("?# \t") & set(text):
        raise wrong
    if made.port is not None and not 0 < made.port <= MOST_PORT:
        raise wrong
    if made.userinfo:
        hint = "leave it out: the key is enough"
        raise InputError("the address of the service holds a name or a password", hint=hint)
    return made


def bearer(key: str) -> dict[str, str]:
    """The header with an API key; blanks around the key, as a mounted secret has them, are no part of it.
    `InputError`, without the key, for what no key can be: a library that met it would print it."""
    text = key.strip()
    if not TOKEN.fullmatch(text):
        raise InputError("this is no API key", hint="give it as farm serve, or whoever made it, printed it")
    return {"Authorization": f"Bearer {text}"}


def idempotency(key: str) -> dict[str, str]:
    """The header that makes a submission one job; `InputError` for what cannot stand in one."""
    if not TOKEN.fullmatch(key):
        hint = "write letters, digits and signs of ASCII, without blanks"
        raise InputError("cannot be an idempotency key", where=ascii(key)[:80], hint=hint)
    return {"Idempotency-Key": key}


def plain_name(path: Path) -> str:
    """What a file is called for the service: its name, without what a name may not hold there, and not too long. What
    is not UTF-8 becomes U+FFFD, and the ending stays."""
    name = path.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    name = UNPLAIN.sub("_", name) or "file"
    stem, dot, ending = name.rpartition(".")
    if len(name) <= MOST_LETTERS or not dot or len(ending) > MOST_ENDING:
        return name[:MOST_LETTERS]
    return stem[: MOST_LETTERS - len(ending) - 1] + dot + ending


def part_of_path(text: str) -> str:
    """An id or a name as one step of an address, whatever it holds."""
    return quote(text, safe="", errors="replace")


def unsendable(method: str, path: str) -> InputError:
    """Why a call could not even be written."""
    where = f"{method} {path[:80]}"
    return InputError("holds a text that is too long or no Unicode", where=where, hint="change or leave out that text")
