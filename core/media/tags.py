"""Tags: which are the film's own, and which a muxer writes about itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

MOV_FAMILY = ("mp4", "mov")
# Written by muxers about the file or stream they write; a copy of the source's would be false in another file.
_FILE_MADE = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "software", "duration"})
_STREAM_MADE = frozenset({"encoder", "vendor_id", "duration", "creation_time"})
_STATISTICS = ("bps", "number_of_frames", "number_of_bytes", "_statistics_")
_DEFAULT_HANDLERS = frozenset(
    {"videohandler", "soundhandler", "subtitlehandler", "datahandler", "timecodehandler", "mainhandler"}
)
# What the mp4 and mov muxers keep of a stream's tags.
_MOV_STREAM = frozenset({"language", "title", "handler_name", "timecode"})
_TS_STREAM = frozenset({"language"})


def film_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The container's tags without those about the file itself, keys as given."""
    return {key: value for key, value in tags.items() if key.lower() not in _FILE_MADE}


def stream_tags(tags: Mapping[str, str], container: str) -> dict[str, str]:
    """A stream's tags to hand to the muxer of `container`."""
    kept = {key: value for key, value in tags.items() if key.lower() not in _STREAM_MADE}
    if container not in MOV_FAMILY:
        kept = {k: v for k, v in kept.items() if not (k.lower() == "handler_name" and v.lower() in _DEFAULT_HANDLERS)}
    return kept


def comparable_film_tags(tags: Mapping[str, str], container: str) -> dict[str, str]:
    """Container tags as they are compared: keys in lower case, dates apart from their notation."""
    if container == "mpegts":
        return {}
    kept = {key.lower(): value.strip() for key, value in film_tags(tags).items()}
    if "creation_time" in kept:
        kept["creation_time"] = _instant(kept["creation_time"])
    return kept


def _instant(text: str) -> str:
    """A date in one notation; the text itself where it is none."""
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:
        return text


def comparable_stream_tags(tags: Mapping[str, str], container: str, *, re_encoded: bool) -> dict[str, str]:
    """A stream's tags as they are compared in `container`: lower case, without what a muxer says of itself,
    without statistics where the stream was encoded anew, an undetermined language being none."""
    kept = {key.lower(): value.strip() for key, value in tags.items() if key.lower() not in _STREAM_MADE}
    if kept.get("language") == "und":
        del kept["language"]
    if kept.get("handler_name", "").lower() in _DEFAULT_HANDLERS or kept.get("handler_name") == "":
        kept.pop("handler_name", None)
    if re_encoded:
        kept = {k: v for k, v in kept.items() if not k.startswith(_STATISTICS)}
    if container in MOV_FAMILY:
        kept = {k: v for k, v in kept.items() if k in _MOV_STREAM}
    if container == "mpegts":
        kept = {k: v for k, v in kept.items() if k in _TS_STREAM}
    return kept
