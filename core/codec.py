"""One JSON codec for every record, and the hash that names work.

Fractions travel as "num/den" strings; arrays as {"dtype", "shape", "zlib"} with base64 of the deflated
little-endian bytes, so a pts table of a long film stays small; paths as strings. Encoding is deterministic
(sorted keys), so equal records have equal bytes and `digest` can name them.
"""

from __future__ import annotations

import base64
import hashlib
import typing
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from core.errors import InputError

T = TypeVar("T")


def _to_plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, np.ndarray):
        data = np.ascontiguousarray(value.astype(value.dtype.newbyteorder("<"), copy=False))
        return {
            "dtype": data.dtype.str,
            "shape": list(data.shape),
            "zlib": base64.b64encode(zlib.compress(data.tobytes(), 6)).decode("ascii"),
        }
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"no JSON form for {type(value).__name__}")


def _from_plain(kind: Any, value: Any) -> Any:
    base = typing.get_origin(kind) or kind
    if base is Fraction:
        return Fraction(value)
    if base is np.ndarray:
        raw = zlib.decompress(base64.b64decode(value["zlib"]))
        return np.frombuffer(raw, dtype=np.dtype(value["dtype"])).reshape(value["shape"])
    if isinstance(base, type) and issubclass(base, Path):
        return base(value)
    raise TypeError(f"no record form for {kind!r}")


def encode(record: object) -> bytes:
    """`record` as compact JSON bytes with sorted keys."""
    return msgspec.json.encode(record, enc_hook=_to_plain, order="sorted")


def decode(data: bytes, kind: type[T]) -> T:
    """The record of type `kind` in `data`; `InputError` names the first field that does not fit."""
    try:
        return msgspec.json.decode(data, type=kind, dec_hook=_from_plain)
    except (msgspec.DecodeError, ValueError, KeyError, zlib.error) as error:
        raise InputError(
            f"not a {kind.__name__}: {error}", hint="the file was written by another version or altered"
        ) from error


def digest(record: object) -> str:
    """SHA-256 of the record's JSON, as 64 hex digits."""
    return hashlib.sha256(encode(record)).hexdigest()
