"""Bits of H.264 and H.265 headers: reading, writing, and the bytes that keep start codes out of NAL units.

Descriptors as in ITU-T H.264, 7.2 and 9.1: u(n) is n bits, ue(v) and se(v) are Exp-Golomb codes. A payload (RBSP) in
which two zero bytes are followed by a byte of 0 to 3 is stored with a byte 3 between them (7.4.1).
"""

from __future__ import annotations

_STOPS = (b"\0\0\0", b"\0\0\1", b"\0\0\2", b"\0\0\3")
LONGEST_CODE = 32  # leading zeros of an Exp-Golomb code (9.1)


class HeaderError(ValueError):
    """A header ends early or says what cannot be."""


class Bits:
    """A reader over bytes; `at` is the position in bits. `HeaderError` past the end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self.size = 8 * len(data)
        self.at = 0

    def u(self, count: int) -> int:
        end = self.at + count
        if end > self.size:
            raise HeaderError("a header ends early")
        self.at = end
        return self._value >> (self.size - end) & ((1 << count) - 1)

    def flag(self) -> bool:
        return self.u(1) == 1

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > LONGEST_CODE:
                raise HeaderError("a number in a header is too long")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)

    def skip(self, count: int) -> None:
        self.u(count)

    def rest(self) -> tuple[int, int]:
        """What was not read: (value, number of bits)."""
        left = self.size - self.at
        return self._value & ((1 << left) - 1), left


class BitWriter:
    """Collects bits; `bytes_` pads the last byte with zeros."""

    def __init__(self) -> None:
        self._value = 0
        self.size = 0

    def u(self, value: int, count: int) -> None:
        self._value = self._value << count | value
        self.size += count

    def ue(self, value: int) -> None:
        self.u(value + 1, 2 * (value + 1).bit_length() - 1)

    def bytes_(self) -> bytes:
        spare = -self.size % 8
        return (self._value << spare).to_bytes((self.size + spare) // 8, "big")


def unescape(data: bytes) -> bytes:
    """`data` without the bytes that prevent start codes."""
    if b"\0\0\3" not in data:
        return data
    parts, at = [], 0
    while (found := data.find(b"\0\0\3", at)) >= 0:
        parts.append(data[at : found + 2])
        at = found + 3
    parts.append(data[at:])
    return b"".join(parts)


def escape(data: bytes) -> bytes:
    """`data` with them."""
    if not any(stop in data for stop in _STOPS):
        return data
    out, zeros = bytearray(), 0
    for byte in data:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def escaped_size(data: bytes, plain: int) -> int:
    """How many bytes of the stored `data` hold the first `plain` bytes of its payload, the last of which is not 0."""
    at, removed = 0, 0
    while (found := data.find(b"\0\0\3", at)) >= 0 and found + 2 - removed < plain:
        removed += 1
        at = found + 3
    return plain + removed


def rest_aligned(bits: Bits, writer: BitWriter) -> bytes:
    """What was written, and what is left in `bits` of a payload, aligned anew (7.3.2.11) and escaped."""
    value, left = bits.rest()
    if not value:
        raise HeaderError("a parameter set has no end")
    spare = (value & -value).bit_length() - 1  # zeros after the stop bit
    writer.u(value >> spare, left - spare)
    return escape(writer.bytes_())
