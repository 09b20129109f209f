"""Logs for machines: one JSON object a line on stderr, of the farm and of the libraries that log.

Every line has time (UTC, ISO 8601), level, logger, message, job, segment, attempt, slot and node; those of the last
five that it is not about are null. What happens to segments and renderers has an `event` beside them, and figures.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

ROOT = "farm"
ALWAYS = ("job", "segment", "attempt", "slot", "node")
EXTRA = "farm_fields"  # of a LogRecord
LEVELS = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}


def utc_text(moment: datetime) -> str:
    """To the millisecond, as 2026-01-31T12:00:00.000Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonFormatter(logging.Formatter):
    """A log record as one JSON object, in one line whatever is in it."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": utc_text(datetime.fromtimestamp(record.created, UTC)),
            "level": LEVELS.get(record.levelno, record.levelname.lower()),
            "logger": record.name,
            "message": record.getMessage(),
            **dict.fromkeys(ALWAYS),
            **getattr(record, EXTRA, {}),
        }
        if record.exc_info:
            fields["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(fields, ensure_ascii=False, default=str)


class JsonHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever stderr is when it writes."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def begin_json() -> None:
    """From now on this process logs in JSON: the farm from level info on, libraries and warnings of Python's too."""
    root = logging.getLogger()
    if not speaks_json():
        root.addHandler(JsonHandler())
    logging.getLogger(ROOT).setLevel(logging.INFO)
    logging.captureWarnings(True)


def end_json() -> None:
    """As before `begin_json`."""
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, JsonHandler)]:
        root.removeHandler(handler)
    logging.captureWarnings(False)


def speaks_json() -> bool:
    """Whether what is said on stderr is to be JSON."""
    return any(isinstance(handler, JsonHandler) for handler in logging.getLogger().handlers)


def log(level: int, message: str, *, error: BaseException | None = None, **fields: Any) -> None:
    """A line of the farm's."""
    trace = (type(error), error, error.__traceback__) if error is not None else None
    logging.getLogger(ROOT).log(level, message, exc_info=trace, extra={EXTRA: fields})
