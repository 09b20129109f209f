"""What an operator says of a service, read from text: the same on the command line and in a Serve file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from math import inf

from core.errors import InputError
from farm.service import keys
from farm.service.clearing import Retention
from farm.service.database import Database
from farm.service.records import TenantQuota
from farm.settings import size_bytes

DAY_S = 86_400
KEEP_AUDIT = 730.0  # days
NONE = "none"
QUOTAS = ("segments", "jobs_running", "jobs_waiting", "gpu_s", "stored_bytes", "film_s")
HINT = f"write NAME=NUMBER, or NAME={NONE} for no limit; names are {', '.join(QUOTAS)}"


def quotas_of(texts: Iterable[str]) -> dict[str, int | None]:
    """Fields of a TenantQuota from film_s=3600, stored_bytes=500G, gpu_s=none; `InputError` for anything else."""
    found: dict[str, int | None] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if name not in QUOTAS or not equals:
            raise InputError(f"{text!r} is no quota", hint=HINT)
        number = None if value == NONE else number_of(name, value)
        if name == "gpu_s":
            name, number = "gpu_ms", None if number is None else 1000 * number
        found[name] = number
    return found


def number_of(name: str, value: str) -> int:
    if name == "stored_bytes" and not value.isdecimal():
        return size_bytes(name, value)
    if not (value.isascii() and value.isdecimal()):
        raise InputError(f"{name}={value!r} is no number", hint=HINT)
    return int(value)


def apply_quotas(db: Database, tenant: str, quotas: Mapping[str, int | None]) -> TenantQuota:
    """Change what `quotas` names of the tenant's quota; the quota then."""
    known = keys.tenant(db, tenant).quota
    made = replace(known, **quotas)
    if made != known:
        keys.set_quota(db, tenant, made)
    return made


def quota_texts(quota: TenantQuota) -> list[str]:
    """The quota as `quotas_of` reads it."""
    told = []
    for field in fields(quota):
        value = getattr(quota, field.name)
        name, value = (
            ("gpu_s", None if value is None else value // 1000)
            if field.name == "gpu_ms"
            else (
                field.name,
                value,
            )
        )
        told.append(f"{name}={NONE if value is None else value}")
    return told


def retention_of(jobs_days: float | None, uploads_days: float | None, audit_days: float | None = None) -> Retention:
    """Retention from days, None for ever."""
    made = [None if days is None else round(days * DAY_S) for days in (jobs_days, uploads_days, audit_days)]
    return Retention(*made)


def days_of(text: str) -> float | None:
    """Days, None for none, which is for ever. `InputError` for anything else."""
    if text == NONE:
        return None
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days < inf:
        raise InputError(f"{text!r} is no number of days", hint=f"write a number, or {NONE} to keep all for ever")
    return days


def check_prefix(prefix: str) -> str:
    """A path before everything, as /farm; "" is none."""
    if prefix and (not prefix.startswith("/") or prefix.endswith("/") or "//" in prefix):
        raise InputError("is no path before everything", where=f"--prefix {prefix}", hint="write it as /farm")
    return prefix


def check_allowed(urls: Sequence[str]) -> tuple[str, ...]:
    """Beginnings of addresses in buckets. One that ends within a name would open other names that begin so."""
    for url in urls:
        if not url.startswith("s3://") or url.count("/") < 3 or not url.endswith("/"):
            raise InputError("is no beginning of addresses in a bucket", where=url, hint="write s3://bucket/prefix/")
    return tuple(urls)
