"""What a swapper is: batches of upright face crops in, the same crops with another face and masks out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from numpy.typing import NDArray

from core.errors import InputError
from core.geometry import Float64Array
from core.records import Float32Array, SourceIdentity, SwapOptions

if TYPE_CHECKING:
    from core.inference.manifest import ModelManifest
    from core.inference.sessions import Sessions


class Swapper(Protocol):
    """Shared by the threads of a worker; `swap` may be called from several at once.

    `needs_mesh`: rows without mesh points cannot be given to it.
    """

    id: str
    needs_mesh: bool
    provider: str
    device: str

    def side_for(self, reach_px: float, identity: SourceIdentity) -> int:
        """The side in pixels of the crops this swapper wants of a track that reaches this extent (FaceTable)."""
        ...

    def crop_from_display(self, points: NDArray[Any], mesh: NDArray[Any], side_px: int) -> Float64Array:
        """Where this swapper wants a face: the map [2,3] from the upright picture to its crop of this side.

        points [5,2] and mesh [468,2] (NaN where missing) are in the upright picture with square pixels.
        `ValueError` when they span no area.
        """
        ...

    def swap(
        self, crops: Float32Array, landmarks: Float32Array, identities: Sequence[SourceIdentity]
    ) -> tuple[Float32Array, Float32Array]:
        """New crops and masks.

        crops float32 RGB [n,3,S,S] in 0..1, S as `side_for` said; landmarks float32 [n,468,2] in crop pixels;
        identities [n], the face to put into each crop.
        Returns crops of the same shape and masks float32 [n,1,S,S] in 0..1, 0 on the crop's rim: how much of the new
        crop the frame gets.
        """
        ...


MESH = "mesh"
BOOST_MAX = 8
SIDE_MAX_PX = 2048  # of a crop; four of them with their masks and copies take about 1 GB
DEFAULTS = SwapOptions()


def mask_models(options: SwapOptions) -> tuple[tuple[Literal["occlusion", "region"], str], ...]:
    """(role, manifest) of every network that the options' masks need; a mask by a network is called as its role."""
    named: dict[Literal["occlusion", "region"], str] = {
        "occlusion": options.occlusion_model,
        "region": options.region_model,
    }
    return tuple((kind, name) for kind, name in named.items() if kind in options.masks)


def swapper_names() -> tuple[str, ...]:
    """All swappers that `open_swapper` knows: "mesh" and those with a manifest."""
    from core.inference.manifest import load_manifests, manifest_folder  # noqa: PLC0415 - as in open_swapper

    manifests = load_manifests(manifest_folder()).values()
    return (MESH, *(manifest.id for manifest in manifests if manifest.role == "swapper"))


def open_swapper(name: str, sessions: Sessions | None = None, options: SwapOptions = DEFAULTS) -> Swapper:
    """The swapper called `name`: "mesh", which needs no sessions and no options, or a swapper manifest's id.

    Its models are opened now. Raises `InputError` for an unknown name or options that the model cannot follow, and
    `ModelError` for missing or wrong weights and manifests.
    """
    if name == MESH:
        from core.swap.mesh import MeshSwapper  # noqa: PLC0415 - the interface can be had without the craft

        return MeshSwapper()
    from core.inference.manifest import load_manifests, manifest_folder  # noqa: PLC0415

    manifests = load_manifests(manifest_folder())
    manifest = manifests.get(name)
    if manifest is None or manifest.role != "swapper":
        raise InputError(f"unknown swapper {name}", hint=f"one of: {', '.join(swapper_names())}, none")
    if sessions is None:
        raise ValueError(f"swapper {name} without sessions")
    return _open_neural(manifest, manifests, sessions, options)


def _open_neural(
    manifest: ModelManifest, manifests: dict[str, ModelManifest], sessions: Sessions, options: SwapOptions
) -> Swapper:
    from core.faces.embed import Recogniser  # noqa: PLC0415 - the interface can be had without the craft
    from core.inference.manifest import by_id  # noqa: PLC0415
    from core.swap.latents import Latents, swap_spec  # noqa: PLC0415
    from core.swap.masker import Masker  # noqa: PLC0415
    from core.swap.neural import NeuralSwapper  # noqa: PLC0415
    from core.swap.source import LatentSource, PictureSource, SourceInput, template_of  # noqa: PLC0415

    spec = swap_spec(manifest)
    check_options(manifest.id, template_of(manifest).side_px, options)
    masker = Masker(options, sessions)
    session = sessions.open(manifest, precision=options.precision)
    source: SourceInput
    if spec.identity == "image":
        source = PictureSource(manifest)
    else:
        needed = by_id(manifests, spec.recogniser or "", "embedder")
        converter = sessions.open(by_id(manifests, spec.converter, "converter")) if spec.converter else None
        # The source's vector comes with the identity; the targets' own are needed only for a mixture.
        recogniser = Recogniser(sessions.open(needed)) if options.strength < 1 else None
        source = LatentSource(manifest, Latents(manifest, session, converter), needed.id, recogniser)
    return NeuralSwapper(session, source, masker, options)


def check_options(name: str, side_px: int, options: SwapOptions) -> None:
    """`InputError` where boost or strength are out of bounds for a model with crops of `side_px`."""
    most = min(BOOST_MAX, SIDE_MAX_PX // side_px)
    if not 1 <= options.boost <= most:
        raise InputError(f"pixel boost {options.boost} for {name}", hint=f"a whole number from 1 to {most}")
    if not 0 <= options.strength <= 1:
        raise InputError(f"swap strength {options.strength:g}", hint="a number from 0 to 1")
