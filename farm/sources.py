"""The faces to put in: read once on this machine, kept in the job's store, and named by the roles that use them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from core import codec
from core.inference.manifest import by_id, load_manifests, manifest_folder
from core.records import Float32Array, ModelUse, Role, RoleSpec, SourceIdentity, SourceSpec
from farm.artifacts import Store
from farm.models import role_models

if TYPE_CHECKING:
    from core.faces.analyse import FaceModels
    from core.faces.embed import Recogniser
    from core.inference.sessions import Sessions


@dataclass(frozen=True)
class Sources:
    """The roles of a job with their faces in the store, and what to tell the user about the pictures.

    `numbers` [roles] are those of `source_numbers`.
    """

    roles: tuple[Role, ...]
    notes: tuple[str, ...]
    numbers: tuple[int, ...]


class Eyes:
    """The networks that look at pictures of people, on this machine's processors; loaded when first needed."""

    def __init__(self, cache: Path, threads: int, detector: str) -> None:
        self._cache, self._threads, self._detector = cache, threads, detector
        self._sessions: Sessions | None = None

    def uses(self) -> tuple[ModelUse, ...]:
        """The models that looked."""
        return self._sessions.uses() if self._sessions is not None else ()

    def notes(self) -> tuple[str, ...]:
        """Why they did not run as they were wished to."""
        return self._sessions.notes if self._sessions is not None else ()

    def identity(self, source: SourceSpec, recognisers: Sequence[str]) -> SourceIdentity:
        """The face of `source` with the vectors of the recognisers whose manifests are named."""
        from core.faces.identity import load_identity  # noqa: PLC0415 - loads OpenCV

        with near_source(source) as here:
            return load_identity(here, self._models(), [self._recogniser(name) for name in recognisers])

    def reference(self, path: str, recogniser: str) -> Float32Array:
        """The vector [D] by `recogniser` of the face in the image at `path`."""
        from core.faces.reference import reference_vector  # noqa: PLC0415 - loads OpenCV
        from farm.store.output import near  # noqa: PLC0415 - loads boto3

        with near(path) as file:
            return reference_vector(file, replace(self._models(), embedder=self._recogniser(recogniser)))

    def _recogniser(self, name: str) -> Recogniser:
        from core.faces.embed import Recogniser  # noqa: PLC0415

        return Recogniser(self._loaded().open(by_id(load_manifests(manifest_folder()), name, "embedder")))

    def _models(self) -> FaceModels:
        from core.faces.analyse import open_models  # noqa: PLC0415

        return open_models(self._loaded(), self._detector)

    def _loaded(self) -> Sessions:
        if self._sessions is None:
            from core.inference.providers import DeviceSpec  # noqa: PLC0415 - loads ONNX Runtime
            from core.inference.sessions import Sessions  # noqa: PLC0415

            self._sessions = Sessions(self._cache, DeviceSpec(wish="cpu", threads=self._threads))
        return self._sessions


@contextmanager
def near_source(source: SourceSpec) -> Iterator[SourceSpec]:
    """`source` with its pictures as files of this machine; errors name them as they were given."""
    from farm.store.output import near  # noqa: PLC0415 - loads boto3

    with ExitStack() as files:
        path, *more = (files.enter_context(near(path)) for path in (source.path, *source.more))
        yield replace(source, path=path, more=tuple(more))


def keep_sources(store: Store, specs: Sequence[RoleSpec], eyes: Eyes, cache: Path) -> Sources:
    """Read each source once, with the vectors that the swappers of all its roles need; a role gets those that its own
    needs, so that it stays what it is when another one changes.

    `InputError` for pictures that will not do, `ModelError` for models that are missing or altered.
    """
    models = [role_models(spec, cache) for spec in specs]
    needed: dict[SourceSpec, list[str]] = {}
    for spec, model in zip(specs, models, strict=True):
        needed.setdefault(spec.source, []).extend(model.recognisers)
    faces = {source: eyes.identity(source, tuple(dict.fromkeys(names))) for source, names in needed.items()}
    roles = []
    for spec, model in zip(specs, models, strict=True):
        face = faces[spec.source]
        own = replace(face, vectors={name: face.vectors[name] for name in model.recognisers})
        roles.append(Role(*keep_identity(store, own), spec.swapper, spec.options, model.rendering))
    several = len(faces) > 1
    notes = [
        f"{Path(source.path).name}: {note}" if several else note
        for source, face in faces.items()
        for note in face.notes
    ]
    return Sources(tuple(roles), tuple(notes), source_numbers([faces[spec.source] for spec in specs]))


def source_numbers(faces: Sequence[SourceIdentity]) -> tuple[int, ...]:
    """For each role's face a number, as CastPlan.sources has them: the same where the same face is put in.

    That is told by what is cut out of the (first) picture, so it does not matter how the file is spelled or copied,
    whether the face's number is written, and which further pictures there are.
    """
    shown = [hashlib.sha256(face.image.tobytes() + face.mesh.tobytes()).digest() for face in faces]
    order = {one: number for number, one in enumerate(dict.fromkeys(shown))}
    return tuple(order[one] for one in shown)


def keep_identity(store: Store, identity: SourceIdentity) -> tuple[str, str]:
    """Put a source face into the store; its name there and the hash of what is there."""
    data = codec.encode(identity)
    sha256 = hashlib.sha256(data).hexdigest()
    name = f"identity/{sha256}.json"
    store.claim([name])
    if not store.intact(name, sha256):
        store.discard(name)
    store.write(name, data)
    return name, sha256
