"""Which options a swapper reads; what it does not read is refused by name, whoever wrote it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from pathlib import Path

from core.errors import InputError
from core.inference.manifest import ModelManifest, by_id, load_manifests, manifest_folder
from core.records import SwapOptions
from core.swap.swapper import check_options

OF_NETWORKS = ("boost", "strength", "masks", "mask_blur", "mask_padding", "occlusion_model", "region_model")
OF_ENHANCERS = ("enhancer", "enhancer_blend", "enhancer_may_go", "enhancer_weight")
FIELDS = tuple(one.name for one in fields(SwapOptions))
UNREAD = {
    "mesh": OF_NETWORKS,
    "none": (*OF_NETWORKS, "paste", "colour", *OF_ENHANCERS, "precision"),
}


def check_swapper(swapper: str, options: SwapOptions, said: Callable[[str], str]) -> None:
    """`InputError` or `ModelError` when there is no such swapper or enhancer, or it cannot follow the options.

    `said` gives an option's name as the user writes it, of a field of SwapOptions or "swapper".
    """
    if options.enhancer is not None:
        weighed = _is_weighed(options.enhancer)
        if options.enhancer_weight != SwapOptions().enhancer_weight and not weighed:
            raise InputError(
                f"{said('enhancer')} {options.enhancer} does not read {said('enhancer_weight')}",
                hint="leave it out, or choose an enhancer with such an input, as codeformer",
            )
    if swapper not in UNREAD:
        manifest = by_id(_manifests(), swapper, "swapper")
        check_options(manifest.id, manifest.template.side_px if manifest.template else 1, options)
    elif unread := [name for name in UNREAD[swapper] if getattr(options, name) != getattr(SwapOptions(), name)]:
        raise InputError(
            f"{said('swapper')} {swapper} does not read {said(unread[0])}",
            hint="leave it out, or choose a swapper of `farm models list`",
        )


def options_read(swapper: str, options: SwapOptions) -> frozenset[str]:
    """The fields of `options` that change something: `ModelError` when there is no such enhancer."""
    unread = set(UNREAD.get(swapper, ()))
    if options.enhancer is None:
        unread |= {*OF_ENHANCERS} - {"enhancer"}
    elif not _is_weighed(options.enhancer):
        unread.add("enhancer_weight")
    unread |= {f"{mask}_model" for mask in ("occlusion", "region") if mask not in options.masks}
    return frozenset(FIELDS) - unread


def _is_weighed(enhancer: str) -> bool:
    """Whether the enhancer has a second input, which says how faithful it is."""
    return len(by_id(_manifests(), enhancer, "enhancer").inputs) > 1


def _manifests() -> dict[str, ModelManifest]:
    """The program's manifests. A service asks for them with every job, and reading them takes 20 ms."""
    folder = manifest_folder()
    state = tuple(
        (one.name, told.st_mtime_ns, told.st_size) for one in sorted(folder.glob("*.toml")) if (told := one.stat())
    )
    return _read(folder, state)


@lru_cache(maxsize=1)
def _read(folder: Path, state: tuple[tuple[str, int, int], ...]) -> dict[str, ModelManifest]:
    """`state` is what the files were like, so that manifests that changed are read again."""
    del state
    return load_manifests(folder)


def read_by(swapper: str, options: SwapOptions) -> SwapOptions:
    """`options` with those that the swapper does not read as they are when nobody sets them."""
    from dataclasses import replace  # noqa: PLC0415

    plain = SwapOptions()
    return replace(options, **{name: getattr(plain, name) for name in UNREAD.get(swapper, ())})
