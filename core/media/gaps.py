"""Bytes of a Matroska file that no packet accounts for: blocks that the demuxer gave up on without a word.

libavformat looks for the next cluster when it meets bytes it cannot read, and the frames between are gone. Packets
say where they stood, so what lies between two of them must be elements that hold no frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from core.media.boxes import CLUSTER, SEGMENT, ebml_elements
from core.records import Int64Array

# Block headers, lacing and a cluster's own fields; more than that between two packets is looked at.
_EXPECTED_BYTES = 64

_BLOCK_GROUP = 0xA0
_PARENTS = {CLUSTER, _BLOCK_GROUP}
_BLOCKS = {0xA3, 0xA1}  # SimpleBlock, Block
# Void, CRC-32, Timestamp, PrevSize, Position, SilentTracks; SeekHead, Info, Tracks, Cues, Tags, Chapters, Attachments;
# BlockDuration, ReferencePriority, ReferenceBlock, CodecState, DiscardPadding, BlockAdditions, Slices,
# BlockVirtual, ReferenceFrame, EncryptedBlock.
_LEAVES = {
    0xEC, 0xBF, 0xE7, 0xAB, 0xA7, 0x5854,
    0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1254C367, 0x1043A770, 0x1941A469,
    0x9B, 0xFA, 0xFB, 0xA4, 0x75A2, 0x75A1, 0x8E, 0xA2, 0xC8, 0xAF,
}  # fmt: skip


def unread_gaps(path: Path, starts: Int64Array, sizes: Int64Array) -> list[tuple[int, int]]:
    """(first byte, first byte after it) of each stretch around the packets that holds something unreadable.

    `starts` are the packets' positions as libavformat states them (of their block's body), `sizes` their bytes;
    packets in one lace share a position. Before the first packet, between two, and after the last.
    """
    if len(starts) == 0:
        return []
    places, inverse = np.unique(starts, return_inverse=True)
    ends = places + np.bincount(inverse, weights=sizes).astype(np.int64)
    wide = np.flatnonzero(places[1:] - ends[:-1] > _EXPECTED_BYTES)
    found = []
    with path.open("rb") as file:
        body, last = _segment(file, path.stat().st_size)
        if body and not _leads(file, body, int(places[0])):
            found.append((body, int(places[0])))
        for gap in wide:
            first, after = int(places[gap]), int(places[gap + 1])
            position = _block_end(file, first)
            if position is not None and not _leads(file, position, after):
                found.append((first, after))
        position = _block_end(file, int(places[-1]))
        if position is not None and not _leads(file, position, last):
            found.append((int(places[-1]), last))
    return found


def _segment(file: BinaryIO, size: int) -> tuple[int, int]:
    """(start of the first segment's body, its end as far as the file goes); (0, size) where there is none."""
    for identity, body, end in ebml_elements(file, 0, size):
        if identity == SEGMENT:
            return body, size if end < 0 else min(end, size)
    return 0, size


def _leads(file: BinaryIO, position: int, after: int) -> bool:
    """Whether elements without frames lead from `position` to the block whose body is `after`, or to the end there."""
    while position < after:
        element = next(ebml_elements(file, position, position + 16), None)
        if element is None:
            return False
        identity, body, end = element
        if identity in _PARENTS:
            position = body
        elif identity in _BLOCKS:
            return body == after
        elif identity in _LEAVES and end >= 0:
            position = end
        else:
            return False
    return True


def _block_end(file: BinaryIO, body: int) -> int | None:
    """The end of the SimpleBlock or Block with that body, by the header that stands before it; None without one."""
    for header in range(2, min(10, body + 1)):
        element = next(ebml_elements(file, body - header, body - header + 16), None)
        if element is not None and element[0] in _BLOCKS and element[1] == body and element[2] > body:
            return element[2]
    return None
