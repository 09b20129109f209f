"""Addresses that work without a key for a quarter of an hour: what they name is signed, not stored."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json

from farm.service.errors import NotFound

SIGNATURE = hashlib.sha256().digest_size


def sign(secret: bytes, tenant: str, job: str, expires_s: int) -> str:
    """A token for a job's result; `expires_s` in seconds since 1970."""
    body = json.dumps([tenant, job, expires_s], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(hmac.digest(secret, body, "sha256") + body).rstrip(b"=").decode()


def read(secret: bytes, token: str, now_s: float) -> tuple[str, str]:
    """(tenant, job) of a token; `NotFound` where it was not made here or is too old."""
    gone = NotFound("no such link, or it is too old", hint="ask for the result again")
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise gone from None
    signature, body = data[:SIGNATURE], data[SIGNATURE:]
    if not hmac.compare_digest(signature, hmac.digest(secret, body, "sha256")):
        raise gone
    tenant, job, expires_s = json.loads(body)
    if now_s > expires_s:
        raise gone
    return str(tenant), str(job)
