"""Twins as this area's tests need them: a session on the CPU, and the file for insightface and OpenCV to read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.inference.manifest import by_id, load_manifests, manifest_folder
from core.inference.providers import DeviceSpec
from core.inference.sessions import Session, Sessions
from core.inference.weights import installed


@dataclass(frozen=True)
class Twin:
    session: Session
    file: Path


def open_twin(name: str, cache: Path) -> Twin:
    """A session of its own with the twin of a manifest's id in the model cache `cache`, and that twin's file."""
    manifest = by_id(load_manifests(manifest_folder()), name)
    return Twin(Sessions(cache, DeviceSpec(wish="cpu")).open(manifest), installed(manifest, cache).path)
