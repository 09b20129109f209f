"""From rows of the tables to records."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from core.codec import decode, encode
from core.errors import InputError
from farm.service.database import Row
from farm.service.records import Asked, JobOrder, JobRow, Problem, Progress, Result, Spent
from farm.service.states import WORKING, JobState, Wish

NOT_BEGUN = Progress()
UNREADABLE = (InputError, ArithmeticError, RecursionError)  # a fraction over 0; a text that is nested beyond all bounds


def text_of(record: object) -> str:
    return encode(record).decode()


def json_of(text: str) -> dict[str, Any]:
    return decode(text.encode(), dict[str, Any])


def job_row(row: Row) -> JobRow:
    """The job of a row. How fast it gets on, and when it may end, is said only while somebody works on it."""
    progress = decode(row["progress"].encode(), Progress)
    state = JobState(row["state"])
    if state not in WORKING and progress != NOT_BEGUN:
        progress = replace(progress, segments_running=0, frames_per_s=0.0, eta_low_s=None, eta_high_s=None)
    return JobRow(
        id=row["id"],
        tenant=row["tenant"],
        state=state,
        wish=Wish(row["wish"]),
        epoch=row["epoch"],
        attempt=row["attempt"],
        losses=row["losses"],
        version=row["version"],
        last_seq=row["last_seq"],
        title=row["title"],
        priority=row["priority"],
        asked=asked_of(row["job_order"]),
        order_json=row["job_order"],
        progress=progress,
        spent=Spent(row["gpu_ms"], row["core_ms"], row["cost_micros"], row["currency"]),
        problem=problem_of(row["problem"]),
        result=decode(row["result"].encode(), Result) if row["result"] is not None else None,
        has_cast=bool(row["has_cast"]),
        created_ms=row["created_ms"],
        changed_ms=row["changed_ms"],
        started_ms=row["started_ms"],
        finished_ms=row["finished_ms"],
        erased_ms=row["erased_ms"],
        key_id=row["key_id"],
    )


def asked_of(text: str | None) -> Asked | None:
    """None too for an order that cannot be read: a page of jobs does not fail for one of them. The job does, when it is
    to run (`order_of`)."""
    try:
        return decode(text.encode(), Asked) if text is not None else None
    except UNREADABLE:
        return None


def order_of(row: JobRow) -> JobOrder | None:
    """The whole order, None where it was erased. `InputError` for one that this version cannot read."""
    try:
        return decode(row.order_json.encode(), JobOrder) if row.order_json is not None else None
    except UNREADABLE as error:
        reason = error.what if isinstance(error, InputError) else str(error)
        told = f"what was asked for cannot be read by this version of the service: {reason}"
        hint = "retry the job when the service is up to date, or submit it again"
        raise InputError(told, where=row.id, hint=hint) from error


def problem_of(text: str | None) -> Problem | None:
    return decode(text.encode(), Problem) if text is not None else None
