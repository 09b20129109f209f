"""What a file is by its first bytes, so that what is no film or picture is refused before it is all here."""

from __future__ import annotations

from core.errors import InputError
from core.media.guard import TAKEN as FILMS
from core.media.image import MAGIC
from core.media.image import TAKEN as PICTURES
from farm.service.records import UploadPurpose

HEAD_BYTES = 1 << 20
ISO_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"moof", b"uuid"})
EBML = b"\x1a\x45\xdf\xa3"
TS_SYNC = 0x47
TS_PACKETS = (188, 192)
SYNCS = 5  # packets in a row that begin as a transport stream's do


def is_film(head: bytes) -> bool:
    """Whether `head` begins as a container that the farm reads: ISO media, Matroska, AVI or a transport stream."""
    if head[4:8] in ISO_BOXES or head.startswith(EBML) or (head[:4] == b"RIFF" and head[8:12] == b"AVI "):
        return True
    for size in TS_PACKETS:
        for first in range(size):
            places = [first + size * number for number in range(SYNCS)]
            if places[-1] < len(head) and all(head[place] == TS_SYNC for place in places):
                return True
    return False


def is_picture(head: bytes) -> bool:
    return head.startswith(MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def check_head(purpose: UploadPurpose, head: bytes, name: str) -> None:
    """`InputError` where a file with these first bytes cannot be what it is for."""
    film, picture = is_film(head), is_picture(head)
    if purpose == "target" and not film:
        raise InputError("is not a film", where=name, hint=f"send a film as {FILMS}")
    if purpose == "source" and not (film or picture):
        raise InputError("is neither a picture nor a film", where=name, hint=f"send {PICTURES}, or a film as {FILMS}")
    if purpose == "reference" and not picture:
        raise InputError("is not a picture", where=name, hint=f"send {PICTURES}")
