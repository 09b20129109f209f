"""The mirror of a job's segments: what the coordinator last told of each. The store of the job is what counts."""

from __future__ import annotations

import sqlalchemy as sql

from farm.service import tables
from farm.service.database import Database
from farm.service.ids import cursor_number, make_cursor, read_cursor
from farm.service.jobs import find
from farm.service.records import Page, SegmentRow, SegmentStage

segment = tables.segments.c


def listed(
    db: Database,
    tenant: str,
    job_id: str,
    *,
    stage: SegmentStage | None = None,
    cursor: str | None = None,
    limit: int = 500,
) -> Page[SegmentRow]:
    """The segments in film order, those of the analysis first; of one stage alone where it is named."""
    name = f"segments {job_id} {stage}"
    asked = sql.select(tables.segments).where(segment.job == job_id)
    if stage is not None:
        asked = asked.where(segment.stage == stage)
    if cursor is not None:
        last_stage, position = read_cursor(name, cursor, 2)
        here = sql.and_(segment.stage == last_stage, segment.position > cursor_number(position))
        asked = asked.where(sql.or_(segment.stage > last_stage, here))
    with db.read() as connection:
        find(connection, tenant, job_id)
        rows = connection.execute(asked.order_by(segment.stage, segment.position).limit(limit + 1)).all()
    items = tuple(
        SegmentRow(
            stage=row.stage,
            index=row.position,
            state=row.state,
            frames=row.frames,
            frames_done=row.frames_done,
            faces=row.faces,
            attempt=row.attempt,
            slot=row.slot,
            node=row.node,
        )
        for row in rows[:limit]
    )
    last = (items[-1].stage, str(items[-1].index)) if items else ("", "")
    return Page(items, make_cursor(name, *last) if len(rows) > limit else None)
