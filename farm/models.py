"""Which models a role needs: before anything is rendered they must be there, and every order names their hashes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.inference.manifest import (
    ModelManifest,
    by_id,
    by_role,
    contract_hash,
    load_manifests,
    manifest_folder,
)
from core.records import RoleSpec
from core.swap.swapper import MESH, mask_models

ModelHashes = tuple[tuple[str, str], ...]  # (id, sha256) of the weights


def contracts(models: ModelHashes) -> str:
    """What the manifests of `models` say of how they are used: part of every key beside the hashes of their weights."""
    manifests = load_manifests(manifest_folder())
    return contract_hash([manifests[name] for name, _ in models if name in manifests])


@dataclass(frozen=True)
class RoleModels:
    """The models of a role: those that decide pixels, and the `recognisers` that must look at the source face."""

    rendering: ModelHashes
    recognisers: tuple[str, ...]


def role_models(role: RoleSpec, cache: Path) -> RoleModels:
    """The models that `role` needs, all of them present.

    `ModelError` for names that no manifest has, and for weights that are missing or altered.
    """
    manifests = load_manifests(manifest_folder())
    rendering, recognisers = _needed(role, manifests)
    from core.inference.weights import installed  # noqa: PLC0415 - loads onnx

    def hashes(models: Sequence[ModelManifest]) -> ModelHashes:
        return tuple((model.id, installed(model, cache).sha256) for model in models)

    hashes([*recognisers, by_role(manifests, "mesh"), by_role(manifests, "embedder")])
    return RoleModels(hashes(rendering), tuple(model.id for model in recognisers))


def names_needed(role: RoleSpec) -> tuple[str, ...]:
    """The ids of the models that render the role. `ModelError` for names that no manifest has."""
    rendering, _ = _needed(role, load_manifests(manifest_folder()))
    return tuple(model.id for model in rendering)


def _needed(role: RoleSpec, manifests: dict[str, ModelManifest]) -> tuple[list[ModelManifest], list[ModelManifest]]:
    """The models that decide pixels, and the recognisers that must look at the source."""
    options = role.options
    rendering: list[ModelManifest] = []
    recognisers: list[ModelManifest] = []
    if role.swapper != MESH:
        swapper = by_id(manifests, role.swapper, "swapper")
        rendering.append(swapper)
        swap = swapper.swap
        if swap is not None and swap.converter:
            rendering.append(by_id(manifests, swap.converter, "converter"))
        if swap is not None and swap.recogniser:
            # The one that the swapper was trained with: another one's vectors would mean nothing to it.
            recognisers.append(by_id(manifests, swap.recogniser, "embedder"))
            if options.strength < 1:
                rendering.append(recognisers[0])
        rendering += [by_id(manifests, name, kind) for kind, name in mask_models(options)]
    if options.enhancer:
        rendering.append(by_id(manifests, options.enhancer, "enhancer"))
    return list({model.id: model for model in rendering}.values()), recognisers
