"""Replace the chosen faces of one frame: crops out, new faces and the label in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from core.geometry import apply, box_area, compose, display_from_coded, scale_of
from core.media.colour import conversion
from core.media.planes import Plane
from core.records import FaceTable, MediaIndex
from core.swap.batch import FaceWork
from core.swap.crop import crop_rgb
from core.swap.paste import paste
from core.swap.stages import OpenRole, Stage
from core.swap.tone import matched
from core.trust.label import label_for

LEAST_FACE_PX = 12  # a crop that covers fewer displayed pixels a side holds no face to replace


class Replacer:
    """Knows the film's geometry, colours, label and roles; counts what was replaced and what was not, and why.

    `faces_by_role` are faces replaced, one number for each of the roles.
    """

    def __init__(self, index: MediaIndex, pix_fmt: str, faces: FaceTable, roles: Sequence[OpenRole]) -> None:
        """`roles` are those that FaceTable.role counts."""
        video = index.video
        self.roles = tuple(roles)
        self._faces = faces
        self._colours = conversion(pix_fmt, video.colour, video.height)
        self._display_from_coded = display_from_coded(
            video.width, video.height, video.sample_aspect_ratio, video.rotation
        )[0]
        self._picture = np.array([[0.0, 0.0, video.width - 1.0, video.height - 1.0]])
        self._label = label_for(index, pix_fmt)
        self.faces_by_role = [0] * len(roles)
        self.frames_replaced = 0
        self.skipped: Counter[str] = Counter()

    @property
    def faces_replaced(self) -> int:
        return sum(self.faces_by_role)

    def wanted(self, frame: int) -> list[int]:
        """Rows of the table that are to be replaced in the frame with this ordinal, largest face first."""
        first, end = np.searchsorted(self._faces.frame, [frame, frame + 1])
        rows = []
        for row in range(int(first), int(end)):
            reason = self._reason_against(row)
            if reason is None:
                rows.append(row)
            else:
                self.skipped[reason] += 1
        return rows

    def _reason_against(self, row: int) -> str | None:
        if self._faces.role[row] < 0:
            return "not selected"
        if self._role(row).stages[0].model.needs_mesh and not np.isfinite(self._faces.mesh[row]).all():
            return "no mesh"
        box = self._faces.box[row].astype(np.float64)[None]
        seen = np.concatenate(
            [np.maximum(box[:, :2], self._picture[:, :2]), np.minimum(box[:, 2:], self._picture[:, 2:])], axis=1
        )
        return None if box_area(seen)[0] > 0 else "outside the picture"

    def _role(self, row: int) -> OpenRole:
        return self.roles[int(self._faces.role[row])]

    def going_on(self, rows: Sequence[int], number: int) -> list[int]:
        """Those of the rows whose role has a stage of this number."""
        return [row for row in rows if number < len(self._role(row).stages)]

    def cut(self, planes: Sequence[Plane], rows: Sequence[int], number: int = 0) -> list[FaceWork]:
        """The crops of these rows, out of the frame's planes, as their roles' stage of this number wants them."""
        works = []
        for row in rows:
            role = self._role(row)
            stage = role.stages[number]
            points = apply(self._display_from_coded, self._faces.points[row])
            mesh = apply(self._display_from_coded, self._faces.mesh[row])
            side_px = stage.model.side_for(float(self._faces.reach_px[row]), role.identity)
            try:
                crop_from_display = stage.model.crop_from_display(points, mesh, side_px)
            except ValueError:
                self._skip("no area", stage, number)
                continue
            if scale_of(crop_from_display) > side_px / LEAST_FACE_PX:
                self._skip("too small", stage, number)
                continue
            crop_from_frame = compose(crop_from_display, self._display_from_coded)
            crop = crop_rgb(planes, crop_from_frame, side_px, self._colours)
            landmarks = np.asarray(apply(crop_from_frame, self._faces.mesh[row]), np.float32)
            works.append(FaceWork(crop_from_frame, crop, landmarks, role.identity, stage, row))
        return works

    def _skip(self, reason: str, stage: Stage, number: int) -> None:
        """Count a face that a stage leaves as it is. A later stage's are replaced all the same."""
        self.skipped[f"{reason} to {stage.name}" if number else reason] += 1

    def paste(self, planes: Sequence[Plane], works: Sequence[FaceWork]) -> None:
        """Lay a stage's new faces into writable planes. Larger faces lie over smaller ones, whatever their roles."""
        for work in reversed(works):
            if work.fresh is None or work.mask is None:
                raise ValueError("a face was pasted before it was swapped")
            fresh = matched(work.fresh, work.crop, work.mask, work.stage.colour)
            paste(planes, fresh, work.mask, work.crop_from_frame, self._colours, work.stage.paste)
            if work.stage is self._role(work.row).stages[0]:
                self.faces_by_role[int(self._faces.role[work.row])] += 1

    def finish(self, planes: Sequence[Plane], works: Sequence[FaceWork]) -> None:
        """Lay the last stage's new faces into writable planes and draw the label."""
        self.paste(planes, works)
        self._label.draw(planes)
        self.frames_replaced += 1
