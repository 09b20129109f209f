"""Which models a job needs: before anything is done they must be there, and every order names their hashes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.inference.manifest import ModelManifest, by_id, by_role, load_manifests, manifest_folder
from core.records import JobSpec
from core.swap.swapper import mask_models

ModelHashes = tuple[tuple[str, str], ...]  # (id, sha256) of the weights


@dataclass(frozen=True)
class JobModels:
    """The models of a job by what they do: `looking` for faces, `rendering`, and `recognisers` of the source face."""

    looking: ModelHashes
    rendering: ModelHashes
    recognisers: tuple[str, ...]


def job_models(spec: JobSpec, cache: Path) -> JobModels:
    """The models that `spec` needs, all of them present; none for `--swapper none`.

    `ModelError` for names that no manifest has, and for weights that are missing or altered.
    """
    if spec.swapper == "none":
        return JobModels((), (), ())
    manifests = load_manifests(manifest_folder())
    looking = [
        by_id(manifests, spec.detector, "detector"),
        by_role(manifests, "mesh"),
        by_id(manifests, spec.recogniser, "embedder"),
    ]
    rendering, recognisers = _rendering(spec, manifests)
    from core.inference.weights import installed  # noqa: PLC0415 - loads onnx

    def hashes(models: Sequence[ModelManifest]) -> ModelHashes:
        return tuple((model.id, installed(model, cache).sha256) for model in models)

    hashes([*recognisers, by_role(manifests, "embedder")])
    return JobModels(hashes(looking), hashes(rendering), tuple(model.id for model in recognisers))


def _rendering(spec: JobSpec, manifests: dict[str, ModelManifest]) -> tuple[list[ModelManifest], list[ModelManifest]]:
    """The models that decide pixels, and the recognisers that must look at the source."""
    options = spec.swap
    rendering: list[ModelManifest] = []
    recognisers: list[ModelManifest] = []
    if spec.swapper != "mesh":
        swapper = by_id(manifests, spec.swapper, "swapper")
        rendering.append(swapper)
        swap = swapper.swap
        if swap is not None and swap.converter:
            rendering.append(by_id(manifests, swap.converter, "converter"))
        if swap is not None and swap.recogniser:
            # The one that the swapper was trained with: another one's vectors would mean nothing to it.
            recognisers.append(by_id(manifests, swap.recogniser, "embedder"))
            if options.strength < 1:
                rendering.append(recognisers[0])
        rendering += [by_id(manifests, name, role) for role, name in mask_models(options)]
    if options.enhancer:
        rendering.append(by_id(manifests, options.enhancer, "enhancer"))
    return list({model.id: model for model in rendering}.values()), recognisers
