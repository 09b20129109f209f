"""Encoder settings under which encoded segments can stand beside copies of the source.

Beyond ids of their own for parameter sets, the encoder's headers must ask as much of a decoder as the source's: where
the size before cropping or the number of pictures that a decoder holds changes at a joint, a decoder may drop pictures
that were not shown yet (H.264, 7.4.3.3; H.265, C.5.2.2). FFmpeg and browsers do not; OpenH264 does where the reorder
depth falls. The encoder can be told to hold more; to hold fewer it must refer to fewer pictures, or reorder less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from core.errors import FarmError
from core.media import h264, hevc
from core.media.bits import HeaderError
from core.media.nal import H264, PPS, SPS, SPS_H, sets_of
from core.media.sample import encoder_header
from core.media.scan import Track, track_of
from core.records import EncoderSettings, MediaIndex

MOST_IDS = 32  # libx264 numbers its sequence parameter set, and with it the picture parameter set, 0 to 31
SMALLEST_BLOCKS = (8, 16, 32)  # min-cu-size of libx265


def matched_settings(source: Path, index: MediaIndex, settings: EncoderSettings) -> EncoderSettings:
    """`settings` of libx264 or libx265 with what makes the headers fit those of the film at `source`; where nothing
    does, they stay, and core.media.smart finds out why copies are not possible."""
    try:
        track = track_of(source)
        if settings.encoder == "libx264":
            return _matched_h264(track, index, settings)
        return _matched_hevc(track, index, settings)
    except (HeaderError, FarmError):
        return settings


def _with(settings: EncoderSettings, *params: str) -> EncoderSettings:
    key = "x264-params" if settings.encoder == "libx264" else "x265-params"
    return replace(settings, options={**settings.options, key: ":".join((settings.options[key], *params))})


def _matched_h264(track: Track, index: MediaIndex, settings: EncoderSettings) -> EncoderSettings:
    if track.sets is None or not track.sets.of(SPS):
        return settings
    theirs = h264.parse_sps(track.sets.of(SPS)[0])
    taken = track.sets.ids(SPS) | track.sets.ids(PPS)
    free = next((number for number in range(MOST_IDS) if number not in taken), 0)
    held = theirs.shown.held
    fitting: list[tuple[int, EncoderSettings]] = []
    for params in _ladder(held):
        own = _with(settings, f"sps-id={free}", *params)
        ours = h264.parse_sps(sets_of(H264, encoder_header(own, index)).of(SPS)[0])
        if ours.shown.held == held:
            apart = abs((ours.reordered or 0) - theirs.reordered) if theirs.reordered is not None else 0
            fitting.append((apart, own))
    return min(fitting, key=lambda entry: entry[0])[1] if fitting else settings


def _ladder(held: int) -> Iterator[tuple[str, ...]]:
    """Options that may make libx264 hold `held` pictures, those that change least first."""
    if not held:
        yield ("keyint=1",)
        return
    for other in ((), ("b-pyramid=none",), ("bframes=2",), ("bframes=1",), ("bframes=0",)):
        yield (f"dpb-size={held}", *other)
        yield (f"dpb-size={held}", f"ref={held}", *other)


def _matched_hevc(track: Track, index: MediaIndex, settings: EncoderSettings) -> EncoderSettings:
    """libx265 is made to hold no more than the source; core.media.renumber states the rest in its header."""
    if track.sets is None or not track.sets.of(SPS_H):
        return settings
    theirs = hevc.parse_sps(track.sets.of(SPS_H)[0])
    least: tuple[str, ...] = ()
    if _hevc_header(settings, index).shown.coded != theirs.shown.coded:
        sizes = (index.video.width, index.video.height)
        found = [n for n in SMALLEST_BLOCKS if tuple(-(-side // n) * n for side in sizes) == theirs.shown.coded]
        if not found:
            return settings
        least = (f"min-cu-size={found[0]}",)
    held = theirs.shown.held
    for less in ((), ("b-pyramid=0",), ("bframes=0",)):
        for refs in ((), (f"ref={max(held - 1, 1)}",)):
            own = _with(settings, *least, *refs, *less) if (*least, *refs, *less) else settings
            ours = _hevc_header(own, index).shown
            if ours.held <= held and ours.coded == theirs.shown.coded:
                return own
    return settings


def _hevc_header(settings: EncoderSettings, index: MediaIndex) -> hevc.Sps:
    sets = sets_of("hevc", encoder_header(settings, index)).of(SPS_H)
    if not sets:
        raise HeaderError("the encoder states no header")
    return hevc.parse_sps(sets[0])
