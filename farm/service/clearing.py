"""What is cleared up while the service runs: files of what was erased, uploads nobody finished, old keys and letters.

Rows say what is to go; a row is marked when its files are gone, so a coordinator that dies in between does it again.
"""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sql

from core.errors import FarmError, StorageError
from core.media.far import FarPath
from farm.paths import place
from farm.service import erasing, tables
from farm.service.database import Database
from farm.service.places import ServicePlaces

job, upload, name, delivery = tables.jobs.c, tables.uploads.c, tables.idempotency.c, tables.deliveries.c
log = logging.getLogger("farm.service")
HOUR_MS = 3_600_000
UPLOAD_MS = 24 * HOUR_MS  # without a byte
NAME_MS = 7 * 24 * HOUR_MS
LETTER_MS = 30 * 24 * HOUR_MS
AT_ONCE = 100


def clear(db: Database, places: ServicePlaces) -> None:
    """Do a bounded piece of it; raises only what the database says."""
    _clear_jobs(db, places)
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        stale = sql.select(upload.id).where(upload.state == "open", upload.changed_ms < now_ms - UPLOAD_MS)
        for one in list(connection.execute(stale.limit(AT_ONCE)).scalars()):
            erasing.forget_upload(connection, now_ms, str(one))
        connection.execute(sql.delete(tables.idempotency).where(name.created_ms < now_ms - NAME_MS))
        old = [delivery.state != "waiting", delivery.created_ms < now_ms - LETTER_MS]
        connection.execute(sql.delete(tables.deliveries).where(*old))
    _clear_uploads(db)


def _clear_jobs(db: Database, places: ServicePlaces) -> None:
    asked = sql.select(job.id).where(job.erased_ms.is_not(None), job.files_gone_ms.is_(None)).limit(AT_ONCE)
    with db.read() as connection:
        erased = [str(one) for one in connection.execute(asked).scalars()]
    for one in erased:
        try:
            places.remove_job(one)
        except FarmError as error:
            log.error("the files of %s stay for now: %s", one, error)
            continue
        with db.write() as connection:
            gone = {"files_gone_ms": db.now_ms(connection)}
            connection.execute(sql.update(tables.jobs).where(job.id == one).values(gone))


def _clear_uploads(db: Database) -> None:
    waits = [upload.state.in_(["gone", "refused"]), upload.files_gone_ms.is_(None)]
    with db.read() as connection:
        rows = connection.execute(sql.select(upload.id, upload.place).where(*waits).limit(AT_ONCE)).all()
    for row in rows:
        try:
            remove_file(row.place)
        except FarmError as error:
            log.error("the file of %s stays for now: %s", row.id, error)
            continue
        with db.write() as connection:
            gone = {"files_gone_ms": db.now_ms(connection)}
            connection.execute(sql.update(tables.uploads).where(upload.id == row.id).values(gone))


def remove_file(text: str) -> None:
    """Remove a file or folder of an upload, and parts of it that lie beside it; nothing where there is none."""
    path = place(text)
    try:
        if isinstance(path, FarPath):
            path.unlink(missing_ok=True)
            return
        for found in (path, *path.parent.glob(f"{path.name}.*")):
            if found.is_dir() and not found.is_symlink():
                shutil.rmtree(found)
            else:
                found.unlink(missing_ok=True)
        with suppress(OSError):
            Path(path.parent).rmdir()  # the tenant's folder, where nothing else is in it
    except OSError as error:
        raise StorageError(f"cannot be removed: {error.strerror}", where=text) from error
