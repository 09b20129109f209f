"""Twins as this area's tests need them: a session on the CPU, and the file for insightface and OpenCV to read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.inference.manifest import by_id, load_manifests, manifest_folder
from core.inference.providers import DeviceSpec
from core.inference.sessions import Session, Sessions
from core.inference.twins import build_twin
from core.inference.weights import add


@dataclass(frozen=True)
class Twin:
    session: Session
    file: Path


def open_twin(name: str, cache: Path) -> Twin:
    """The twin of a manifest's id at width/8, added to the model cache `cache` as an operator's own variant."""
    manifest = by_id(load_manifests(manifest_folder()), name)
    file = cache / f"{name}-as-built.onnx"
    cache.mkdir(exist_ok=True)
    file.write_bytes(build_twin(manifest))
    there = add(manifest, file, cache, unlisted=True, accept_licence=True)
    return Twin(Sessions(cache, DeviceSpec(wish="cpu")).open(manifest), there.path)
