"""Smart render: segments in which nothing changes are copied from the source, packet by packet, instead of encoded.

One film track then holds the pictures of two encoders. That is sound where a decoder cannot trip over a joint:

- A segment is copied whole: it begins with a picture that needs nothing from before it (IDR, a key frame that is
  shown; a film's first segment and one after another copy need not), and no frame of it is stored after the next
  segment's first. What follows a copy is an encoded segment, which begins with an IDR of its own.
- Headers mean one thing in the whole film. H.264 and H.265 know parameter sets by id, so the encoder's get ids that
  the source leaves free (libx264 by option, libx265's are renumbered at the join) and all of them lie in the film's
  header. FFV1 and AV1 have one header a track: it must be equal to the byte. VP9 and ProRes say all in each picture.
- Both say the same of the picture: size, chroma, depth, aspect, colour, range, fields. Data that the encoder cannot
  carry (Dolby Vision, HDR10+) must not come and go.

Whatever is in doubt is encoded. The finished film is verified like any other, and the copies beside.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.errors import FarmError
from core.media import h264, hevc
from core.media.bits import HeaderError
from core.media.configuration import configuration, pictures
from core.media.encoders import CAPTIONING
from core.media.heads import av1_configured, prores_frame, vp9_key
from core.media.inventory import not_carried
from core.media.matching import matched_settings
from core.media.nal import H264, HEVC, SPS, SPS_H, ParameterSets, sets_of
from core.media.plan import has_leading
from core.media.renumber import Renumbering, free_ids
from core.media.sample import encoded_sample
from core.media.scan import Scan, Track, scan, track_of
from core.media.shown import Shown, why_apart
from core.records import EncoderSettings, MediaIndex, Segment

ENCODERS = ("libx264", "libx265", "libvpx-vp9", "libsvtav1", "prores_ks", "ffv1")


@dataclass(frozen=True)
class Copies:
    """The indices of the segments to copy, and why of those that were asked for others are not."""

    segments: frozenset[int] = frozenset()
    reasons: dict[int, str] = field(default_factory=dict)


def why_never(index: MediaIndex, settings: EncoderSettings, container: str) -> str | None:
    """Why no packet of the film can be copied, as far as its index tells; None where some may be."""
    video = index.video
    lost = [note for note in index.notes if note.endswith(not_carried(""))]
    faults = (
        (settings.codec != video.codec, f"the picture becomes {settings.codec}"),
        (settings.encoder not in ENCODERS, f"{settings.encoder} gives its parameter sets the ids of the source's"),
        (index.indexed_by != "demux", "its packets do not tell when each frame is shown"),
        (container == "avi", "avi stores frames in the order in which they are shown"),
        (bool(lost), f"{''.join(lost[:1])}, and would come and go"),
        (video.captions and settings.encoder not in CAPTIONING, "captions would come and go"),
        (bool(video.frame_packing) and settings.encoder != "libx264", "its 3D layout would come and go"),
    )
    return next((reason for fault, reason in faults if fault), None)


def smart_settings(source: Path, index: MediaIndex, settings: EncoderSettings, container: str) -> EncoderSettings:
    """`settings` under which encoded segments can stand beside copies of the film at `source`.

    They depend on the film alone, not on what is copied: another cast does not change them.
    """
    if settings.encoder not in ("libx264", "libx265") or why_never(index, settings, container):
        return settings
    return matched_settings(source, index, settings)


class Copier:
    """Decides for one film, settled `settings` and container, which segments can be copied.

    `reason` is why none can; it reads the headers of both sides, once.
    """

    def __init__(self, source: Path, index: MediaIndex, settings: EncoderSettings, container: str) -> None:
        self._source = source
        self._index = index
        self._leading = has_leading(index.key, index.packet)
        self._depth = index.video.reorder_depth
        self._ours: Shown | None = None
        self._own: ParameterSets | None = None
        self._sequences: list[bytes] = []
        self._track = Track("", b"", None, 0, "")
        self.reason = why_never(index, settings, container)
        if self.reason is None:
            try:
                self._track = track_of(source)
                self.reason = self._read_headers(settings)
            except (HeaderError, FarmError) as error:
                self.reason = getattr(error, "what", "") or str(error)

    def _read_headers(self, settings: EncoderSettings) -> str | None:
        sample = encoded_sample(settings, self._index)
        track = self._track
        if track.codec in (H264, HEVC):
            self._own = sets_of(track.codec, sample.extradata)
            self._ours = pictures(self._own)[0]
            return self._why_sets_clash(track.sets or ParameterSets(track.codec))
        if track.codec == "vp9":
            self._ours = vp9_key(sample.packet)
        elif track.codec == "prores":
            self._ours = prores_frame(sample.packet)
            if sample.tag != track.tag:
                return f"the source is {track.tag}, the encoder writes {sample.tag}"
        elif track.codec == "av1":
            self._sequences = av1_configured(sample.extradata)
            if not self._sequences or av1_configured(track.extradata) != self._sequences:
                return "the encoder writes another sequence header, and the film can have one only"
        elif sample.extradata != track.extradata:
            return "the encoder writes another header, and the film can have one only"
        return None

    def _why_sets_clash(self, theirs: ParameterSets) -> str | None:
        """Why the film's header cannot hold both sides' parameter sets, or None."""
        own = self._own
        assert own is not None
        if own.codec == H264:
            if self._ours is not None and self._ours.chroma in (3, 4):
                # FFmpeg's decoder follows mistakes of older versions of x264 in lossless 4:4:4, by a note in the
                # stream's first packet: after a joint it would go by the other encoder's.
                return "decoders read H.264 4:4:4 by the version of the encoder, which would change within the film"
            merged = theirs.copy()
            if not all(merged.add(unit) for unit in own.units.values()):
                return "the source uses the parameter set ids of the encoder"
        else:
            ids = free_ids(theirs)
            if ids is None:
                return "the source uses every parameter set id"
            merged = theirs.copy()
            renumbered = Renumbering.of(own, ids, theirs).sets(own)
            self._ours = pictures(renumbered)[0]
            for unit in renumbered.units.values():
                merged.add(unit)
        configuration(merged)
        return None

    def copyable(self, segment: Segment, damaged: Collection[int] = ()) -> str | None:
        """Why `segment` cannot be copied between encoded ones, or None; see `choose`."""
        return self.choose([segment], {segment.index}, damaged).reasons.get(segment.index)

    def choose(self, segments: Sequence[Segment], wanted: Collection[int], damaged: Collection[int] = ()) -> Copies:
        """Which of the `wanted` segments (indices) to copy. Frames that are `damaged` (ordinals) are in none: what is
        made of them does not depend on this."""
        chosen: set[int] = set()
        reasons: dict[int, str] = {}
        sets = self._track.sets.copy() if self._track.sets else None
        after_copy = False
        for segment in segments:
            reason: str | None = "it is to be rendered"
            if segment.index in wanted:
                reason, sets = self._why_not(segment, damaged, sets, after_copy=after_copy or segment.first == 0)
                if reason:
                    reasons[segment.index] = reason
                else:
                    chosen.add(segment.index)
            after_copy = reason is None
        return Copies(frozenset(chosen), reasons)

    def _why_not(
        self, segment: Segment, damaged: Collection[int], sets: ParameterSets | None, *, after_copy: bool
    ) -> tuple[str | None, ParameterSets | None]:
        """(reason or None, the parameter sets of all copies so far, with this one's where it is one)."""
        reason = self.reason or self._why_torn(segment, damaged)
        if reason:
            return reason, sets
        found = scan(self._source, self._index, segment, self._track)
        reason = found.reason or self._why_other_picture(found)
        if not reason and not found.clean and not after_copy:
            reason = "its first picture needs what comes before it"
        if reason or sets is None or found.sets is None:
            return reason or None, sets
        merged = sets.copy()
        if not all(merged.add(unit) for unit in found.sets.units.values()):
            return "its parameter sets are not those of other segments", sets
        try:
            reason = self._why_sets_clash(merged)
        except HeaderError as error:
            reason = str(error)
        return reason, sets if reason else merged

    def _why_torn(self, segment: Segment, damaged: Collection[int]) -> str | None:
        index, first, end = self._index, segment.first, segment.end
        ranks = index.packet[first:end]
        bad = (*damaged, *(entry.frame for entry in index.damage))
        beyond = self._leading[first] or (end < index.frames and self._leading[end])
        faults = (
            (any(first <= frame < end for frame in bad), "frames of it are damaged"),
            (bool(index.missing_s) and end == index.frames, "the film is cut off"),
            (beyond, "frames are stored beyond the keyframe after them (open GOP)"),
            (int(ranks.min()) != int(ranks[0]), "frames of it are stored before its keyframe"),
            (int(np.ptp(ranks)) + 1 != segment.frames, "its packets hold frames that are not shown"),
        )
        return next((reason for fault, reason in faults if fault), None)

    def _why_other_picture(self, found: Scan) -> str | None:
        if found.sets is not None and self._ours is not None:
            for unit in found.sets.of(SPS if found.sets.codec == H264 else SPS_H):
                is_h264 = found.sets.codec == H264
                sps = h264.parse_sps(unit) if is_h264 else hevc.parse_sps(unit)
                if reason := why_apart(self._ours, sps.shown):
                    return reason
                if self._depth and (sps.reordered is None or sps.reordered < self._depth):
                    return "its headers do not say how far its pictures are reordered"
            return None
        for head in found.heads:
            if isinstance(head, Shown) and self._ours is not None and (reason := why_apart(self._ours, head)):
                return reason
            if isinstance(head, bytes) and head != self._sequences[0]:
                return "its sequence headers change within the film"
        return None
