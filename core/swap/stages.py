"""The face stages of a role: what is done, one after the other, to every face that has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core.kept import Kept
from core.records import ColourKind, PasteKind, Role, SourceIdentity, SwapOptions
from core.swap.batch import BATCH
from core.swap.swapper import DEFAULTS, MESH, Swapper, open_swapper

if TYPE_CHECKING:
    from core.inference.sessions import Sessions

ENHANCE = "enhance"
HELD = 32  # swappers that are kept; the networks in them are shared and live with the sessions


@dataclass(frozen=True)
class Stage:
    """One change: by which model, with how many faces at a time, and how the result is laid into the frame.

    A stage cuts its crops out of frames into which all earlier stages were pasted. `name` is that of its seconds in
    the receipt. `left_out` says how many faces its model has left as they came for want of memory.
    """

    name: str
    model: Swapper
    paste: PasteKind = "feather"
    colour: ColourKind = "none"
    batch: int = BATCH
    left_out: Callable[[], int] = lambda: 0


@dataclass(frozen=True)
class OpenRole:
    """A role whose models are open: the face to put in, and its stages, of which the first is the swap."""

    identity: SourceIdentity
    stages: tuple[Stage, ...]


class RoleOpener:
    """Opens the stages of roles, and keeps the swappers of the last ones.

    Two roles whose swappers differ in nothing get the same swapper: their faces go through it together. The same
    holds for enhancers within one call, whose counts of faces left out are then of that call's roles alone.
    """

    def __init__(self, sessions: Callable[[], Sessions]) -> None:
        """`sessions` is called by the first role that has a network."""
        self._sessions = sessions
        self._swappers: Kept[tuple[str, SwapOptions], Swapper] = Kept(HELD)

    def open(self, roles: Iterable[tuple[Role, SourceIdentity]]) -> list[OpenRole]:
        """The swap, then the enhancer where a role names one.

        Raises `InputError` for options that cannot be, `ModelError` for missing or wrong weights.
        """
        enhancers: dict[SwapOptions, tuple[Stage, ...]] = {}
        opened = []
        for role, identity in roles:
            options = role.options
            key = of_enhancer(options)
            if key not in enhancers:
                enhancers[key] = self._enhancer(options)
            swap = Stage("swap", self._swapper(role.swapper, options), options.paste, options.colour)
            opened.append(OpenRole(identity, (swap, *enhancers[key])))
        return opened

    def _swapper(self, name: str, options: SwapOptions) -> Swapper:
        def opened() -> Swapper:
            return open_swapper(name, None if name == MESH else self._sessions(), options)

        return self._swappers.get((name, of_swapper(name, options)), opened)

    def _enhancer(self, options: SwapOptions) -> tuple[Stage, ...]:
        """The stage of the options' enhancer, none where they name none."""
        if options.enhancer is None:
            return ()
        from core.swap.enhance import open_enhancer  # noqa: PLC0415 - loads the runtime of networks

        enhancer = open_enhancer(options, self._sessions())
        if enhancer is None:
            return ()
        return (Stage(ENHANCE, enhancer, batch=enhancer.batch, left_out=lambda: enhancer.left_out),)


def of_swapper(name: str, options: SwapOptions) -> SwapOptions:
    """The options with those that this swapper does not read at their defaults."""
    if name == MESH:
        return DEFAULTS
    return replace(
        options,
        paste=DEFAULTS.paste,
        colour=DEFAULTS.colour,
        enhancer=DEFAULTS.enhancer,
        enhancer_blend=DEFAULTS.enhancer_blend,
        enhancer_may_go=DEFAULTS.enhancer_may_go,
        enhancer_weight=DEFAULTS.enhancer_weight,
    )


def of_enhancer(options: SwapOptions) -> SwapOptions:
    """The options with those that an enhancer does not read at their defaults."""
    return replace(
        options,
        boost=DEFAULTS.boost,
        strength=DEFAULTS.strength,
        mask_padding=DEFAULTS.mask_padding,
        paste=DEFAULTS.paste,
        colour=DEFAULTS.colour,
    )


def left_out(roles: Sequence[OpenRole]) -> Counter[str]:
    """Faces that the stages of these roles have left out, by the reason that a receipt gives."""
    stages = {id(stage.model): stage for role in roles for stage in role.stages}.values()
    counts: Counter[str] = Counter()
    for stage in stages:
        if count := stage.left_out():
            counts[no_memory(stage.name)] += count
    return counts


def no_memory(stage: str) -> str:
    """The reason why faces did not go through a stage that memory was too short for."""
    return f"no memory to {stage}"
