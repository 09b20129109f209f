"""Twins: graphs with a published model's operators, names and shapes, but seeded random weights.

At width 8 (channel counts divided by 8) a twin runs in milliseconds and carries the tests; at width 1 it carries the
benchmarks. It swaps nobody's face and is never offered to a user as a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from core.errors import ModelError
from core.inference.manifest import Identity, ModelManifest
from core.inference.twins import detectors
from core.inference.twins.codebook import codeformer, restoreformer
from core.inference.twins.detectors import scrfd
from core.inference.twins.gfpgan import gfpgan
from core.inference.twins.ghost import ghost
from core.inference.twins.gpen import gpen, uniface
from core.inference.twins.inswapper import inswapper
from core.inference.twins.masks import bisenet, xseg
from core.inference.twins.recognisers import iresnet50, mobilefacenet
from core.inference.twins.simswap import converter, simswap
from core.inference.twins.unets import hififace, hyperswap
from core.inference.twins.yunet import yunet

Builder = Callable[[ModelManifest, int, int], bytes]


# What builds the twin of each manifest id.
TWINS: Mapping[str, Builder] = MappingProxyType(
    {
        "det_10g": partial(scrfd, spec=detectors.SCRFD_10G),
        "det_2.5g": partial(scrfd, spec=detectors.SCRFD_2_5G),
        "det_500m": partial(scrfd, spec=detectors.SCRFD_500M),
        "yunet_2023_mar": yunet,
        "w600k_r50": iresnet50,
        "w600k_mbf": mobilefacenet,
        "inswapper_128": inswapper,
        "inswapper_128_fp16": partial(inswapper, half=True),
        "simswap_256": simswap,
        "simswap_512": simswap,
        "ghost_1_256": partial(ghost, layers=1),
        "ghost_2_256": partial(ghost, layers=2),
        "ghost_3_256": partial(ghost, layers=3),
        "blendswap_256": partial(ghost, layers=2, image=True),
        "uniface_256": uniface,
        "hififace_256": hififace,
        "hyperswap_1a_256": hyperswap,
        "hyperswap_1b_256": hyperswap,
        "hyperswap_1c_256": hyperswap,
        "xseg": xseg,
        "bisenet": bisenet,
        "gfpgan_1.4": gfpgan,
        "restoreformer++": restoreformer,
        "codeformer": codeformer,
        "gpen_256": gpen,
        "gpen_512": gpen,
        "gpen_1024": gpen,
        "gpen_2048": gpen,
        "crossface_ghost": converter,
        "crossface_simswap": converter,
        "crossface_hififace": converter,
    }
)


def build_twin(manifest: ModelManifest, *, width: int = 8, seed: int = 0) -> bytes:
    """The twin's ONNX file: the same bytes for the same manifest, width and seed.

    `width` divides channel counts. A manifest of an unknown id gets the graph of the model with the same kind of
    contract. Raises `ModelError` for a model that no twin is known of.
    """
    if width < 1:
        raise ModelError(f"width divisor {width} is below 1")
    name = manifest.id if manifest.id in TWINS else _like(manifest)
    if name is None:
        raise ModelError(f"no twin of {manifest.id}", hint=f"there are twins of: {', '.join(sorted(TWINS))}")
    try:
        return TWINS[name](manifest, width, seed)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"no twin of {manifest.id}: its tensors are not those of a model like {name}",
            where=f"model {manifest.id}",
            hint=f"there are twins of: {', '.join(sorted(TWINS))}",
        ) from error


def _like(manifest: ModelManifest) -> str | None:
    """The id of the known model whose contract is the same kind."""
    swaps: Mapping[Identity, str] = {
        "emap": "inswapper_128",
        "embedding": "hyperswap_1a_256",
        "converted": "simswap_256",
        "image": "uniface_256",
    }
    if manifest.embedded:
        return None
    if manifest.swap is not None:
        return swaps[manifest.swap.identity]
    families = {"scrfd": "det_10g", "yunet": "yunet_2023_mar", "arcface": "w600k_r50"}
    roles = {"converter": "crossface_ghost", "enhancer": "gpen_512", "occlusion": "xseg", "region": "bisenet"}
    return families.get(manifest.family) or roles.get(manifest.role)
