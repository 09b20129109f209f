"""ONNX Runtime sessions on a known provider, made by one factory for the life of an actor.

A session says which provider really runs it (core.inference.loading). When the device's memory runs out, the actor
steps down (core.inference.residency) and the call is repeated; every step is named in the session's `use`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError
from core.inference.batches import call_items
from core.inference.gpu import look_at_gpu
from core.inference.loading import Loaded, Loader, first_line
from core.inference.manifest import ModelManifest
from core.inference.parity import ParityReport
from core.inference.providers import CPU, DeviceSpec
from core.inference.residency import Event, Ladder, is_out_of_memory, watch
from core.records import Float32Array
from core.records.models import ModelUse, Precision

__all__ = ["CPU", "LeftOut", "Session", "Sessions"]

WATCH_EVERY = 64  # calls on a GPU between two looks at its memory

Feeds = Mapping[str, NDArray[np.float32]]


class LeftOut(ModelError):
    """A model that the job can do without is not run any more: memory was short, and this was the last step."""


class Session:
    """One model. `provider` is the execution provider that really runs it, `device` the device's name.

    `batch` is the fixed number of items of one call of the runtime, None where any will do. `arrays` are tensors of
    the published file that surgery took out of the graph ("emap" of inswapper). `may_go`: the job can do without it.
    Any number of threads may call `run`.
    """

    def __init__(
        self, manifest: ModelManifest, owner: Sessions, load: Callable[[int | None], Loaded], *, may_go: bool = False
    ) -> None:
        self.manifest = manifest
        self.may_go = may_go
        self._owner = owner
        self._load = load
        self._most = call_items(manifest, owner.batch)
        self._shared = {spec.name for spec in manifest.inputs if len(spec.shape) < 2}
        self._lock = threading.Lock()
        self._running = 0
        self._loaded: Loaded | None = load(owner.limit)
        self._base = self._describe(self._loaded)
        self._parity = self._loaded.ready.parity
        self.arrays = {name: np.asarray(array) for name, array in self._loaded.ready.arrays.items()}

    @property
    def use(self) -> ModelUse:
        return replace(self._base, steps=self._owner.steps)

    @property
    def provider(self) -> str:
        return self._base.provider

    @property
    def parity(self) -> ParityReport | None:
        """How far the loaded file was from the published one when it was made; None where it is that file."""
        return self._parity

    @property
    def device(self) -> str:
        return self._base.device

    @property
    def batch(self) -> int | None:
        return self._base.batch

    def run(self, feeds: Feeds) -> list[Float32Array]:
        """The manifest's outputs, in its order, for items along the first axis of every feed, any number of them.

        An input that the manifest gives less than two axes is no list of items: it holds one number, or the same one
        for each item. A model with a fixed batch is run as often as needed; the last part is filled up with its own
        last item and cut off again. Raises `LeftOut` once memory was so short that this model had to go, `ModelError`
        when the runtime refuses the inputs, or when memory is short and nothing is left to give up.
        """
        counts = {len(feed) for name, feed in feeds.items() if name not in self._shared}
        if len(counts) != 1:
            raise self._error(f"inputs of {sorted(counts)} items in one call")
        count = counts.pop()
        parts: list[list[Float32Array]] = []
        start = 0
        while start < count or not parts:
            if self.may_go and self._owner.enhancer_off:
                raise LeftOut("left out for want of memory", where=f"model {self.manifest.id}")
            size = max(1, min(self._size(), count))
            try:
                parts.append(self._part(feeds, start, min(start + size, count)))
            except Exception as error:  # ONNX Runtime raises many unrelated classes, all direct children of Exception
                if not is_out_of_memory(str(error)):
                    if isinstance(error, ModelError):
                        raise
                    raise self._error(first_line(error)) from error
                if not self._owner.relieve(self):
                    raise self._error(f"too little memory on {self.device}", self._owner.advice()) from error
                continue
            start += size
        return parts[0] if len(parts) == 1 else [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]

    def drop(self) -> bool:
        """Give the memory back unless a call is running; the next call loads the model again. True when given."""
        with self._lock:
            if self._running or self._loaded is None:
                return False
            self._loaded.close()
            self._loaded = None
            return True

    def _size(self) -> int:
        """The most items of the next call. Where any number will do, few at a time keep memory small and cost nothing:
        a CPU computes four faces no faster than one after the other."""
        batch, limit = self._base.batch or self._most, self._owner.limit
        return min(batch, limit or batch)

    def _part(self, feeds: Feeds, start: int, end: int) -> list[Float32Array]:
        """The items from `start` to `end`, at least one of which is computed: of no items, zeros are, and cut off."""
        loaded = self._enter()
        try:
            valid = end - start
            size = loaded.batch or max(valid, 1)
            part: dict[str, NDArray[np.float32]] = {}
            for name, feed in feeds.items():
                if name in self._shared:
                    part[name] = self._one_number(name, feed)
                elif valid == 0:
                    part[name] = np.zeros((size, *feed.shape[1:]), np.float32)
                elif valid == size:
                    part[name] = feed[start:end]
                else:
                    rows = np.minimum(np.arange(start, start + size), end - 1)
                    part[name] = feed[rows]
            outputs = loaded.run(part)
            return outputs if valid == size else [output[:valid] for output in outputs]
        finally:
            self._leave()

    def _one_number(self, name: str, feed: NDArray[np.float32]) -> NDArray[np.float32]:
        """An input of the whole call."""
        numbers = np.unique(feed)
        if len(numbers) != 1:
            raise self._error(f"input {name} takes one number a call, not {len(numbers)}")
        return numbers

    def _enter(self) -> Loaded:
        with self._lock:
            limit = self._owner.limit
            fixed = self._loaded is not None and self._loaded.provider != CPU and self._loaded.batch is not None
            if fixed and limit is not None and self._loaded is not None and (self._loaded.batch or 1) > limit:
                self._loaded.close()
                self._loaded = None
            if self._loaded is None:
                self._loaded = self._load(limit)
                self._base = self._describe(self._loaded)
                self._parity = self._loaded.ready.parity
            self._running += 1
            return self._loaded

    def _leave(self) -> None:
        with self._lock:
            self._running -= 1
        if self.may_go and self._owner.enhancer_off:
            self.drop()
        if self._base.provider != CPU:
            self._owner.observe()

    def _describe(self, loaded: Loaded) -> ModelUse:
        return ModelUse(
            id=self.manifest.id,
            sha256=loaded.ready.sha256,
            listed=loaded.ready.listed,
            provider=loaded.provider,
            device=loaded.device,
            precision=loaded.ready.precision,
            batch=loaded.batch,
        )

    def _error(self, what: str, hint: str = "") -> ModelError:
        return ModelError(what, where=f"model {self.manifest.id}", hint=hint)


class Sessions:
    """The models of one actor, each loaded when it is first opened, kept as long as this object. Thread-safe.

    `progress` is told, a line at a time, what takes long: surgery on weights, engines, providers passed over; `slow`
    again and again what takes minutes, in words that change: engines alone.
    """

    def __init__(
        self,
        cache: Path,
        device: DeviceSpec,
        *,
        progress: Callable[[str], None] | None = None,
        slow: Callable[[str], None] | None = None,
    ) -> None:
        self._spec = device
        self._loader = Loader(cache, device, progress, slow)
        self._open: dict[tuple[str, Precision], Session] = {}
        self._opening = threading.RLock()
        self._state = threading.Lock()
        self._ladder = Ladder(batch=device.batch)
        self._calls = 0

    def open(self, manifest: ModelManifest, *, precision: Precision = "fp32", may_go: bool = False) -> Session:
        """The session of a model, the same object each time.

        `may_go`: the job can do without the model (an enhancer) when memory is short. Raises `LeftOut` where that has
        come to pass, `ModelError` when the model is missing, altered, refused, does not have the manifest's tensors, or
        when the device that was asked for does not run it, or has too little memory.
        """
        with self._opening:
            if may_go:
                with self._state:
                    self._ladder = replace(self._ladder, enhancer_may_go=True)
            key = (manifest.id, precision)
            while key not in self._open:
                if may_go and self.enhancer_off:
                    raise LeftOut("left out for want of memory", where=f"model {manifest.id}")
                try:
                    self._open[key] = Session(
                        manifest, self, lambda limit: self._loader.load(manifest, precision, limit), may_go=may_go
                    )
                except ModelError as error:
                    if not is_out_of_memory(error.what):
                        raise
                    if not self.relieve(None):
                        raise ModelError(
                            "too little memory to load it", where=f"model {manifest.id}", hint=self.advice(manifest)
                        ) from error
            session = self._open[key]
            session.may_go = session.may_go or may_go
            return session

    def build(self, manifest: ModelManifest, *, precision: Precision = "fp32") -> Path | None:
        """Make what opening the model on this device needs and takes long: its variant, and the TensorRT engine.

        Returns the engine's folder, None where the model is not run by TensorRT. Raises `ModelError` like `open`.
        """
        engine = self._loader.build(manifest, precision)
        return engine.wrapper.parent if engine is not None else None

    def uses(self) -> tuple[ModelUse, ...]:
        """How every model that was opened really runs, in the order of opening."""
        return tuple(session.use for session in list(self._open.values()))

    @property
    def providers(self) -> Sequence[str]:
        """The providers that the device wish allows and that work here, best first."""
        return self._loader.usable()

    @property
    def notes(self) -> tuple[str, ...]:
        """Why better providers are not used, and why models run in another precision or batch; each once."""
        return self._loader.notes

    @property
    def batch(self) -> int:
        """The most items of one call that were asked for."""
        return self._spec.batch

    @property
    def steps(self) -> tuple[str, ...]:
        """The step-downs that memory pressure forced, in order."""
        return self._ladder.taken

    @property
    def limit(self) -> int | None:
        """The most items of one call that the steps allow, None for any number."""
        return self._ladder.limit

    @property
    def enhancer_off(self) -> bool:
        """Whether the last step was taken: the enhancer is to be left out."""
        return "enhancer off" in self._ladder.taken

    def advice(self, opening: ModelManifest | None = None) -> str:
        """What a person can do where memory was short and nothing was left to give up."""
        asked = [opening, *(session.manifest for session in list(self._open.values()))]
        enhancer = next((each for each in asked if each is not None and each.role == "enhancer"), None)
        if enhancer is None or self._ladder.enhancer_may_go:
            return "close other programs there, or use the device cpu"
        return f"close other programs there, use the device cpu, or allow {enhancer.id} to go with --enhancer-may-go"

    def ring(self, frames: int) -> int:
        """How many frames may be held at once where `frames` were planned."""
        return self._ladder.ring(frames)

    def relieve(self, caller: Session | None) -> bool:
        """Take the next step because memory ran out; False when there is none. Called by sessions."""
        return self._on("out of memory", caller)

    def observe(self) -> None:
        """Look at the device's memory once in a while. Called by sessions after a call on a GPU."""
        with self._state:
            self._calls += 1
            if self._calls % WATCH_EVERY:
                return
        try:
            gpu = look_at_gpu(self._spec.device_id)
        except ModelError:
            return  # a driver without NVML: errors alone drive the steps
        self._on(watch(gpu.used_bytes, gpu.total_bytes), None)

    def _on(self, event: Event, caller: Session | None) -> bool:
        with self._state:
            self._ladder, step = self._ladder.on(event)
        if step == "unused sessions dropped":
            for session in list(self._open.values()):
                if session is not caller:
                    session.drop()
        if step == "enhancer off":
            for session in list(self._open.values()):
                if session.may_go:
                    session.drop()  # one that runs is dropped when it is done
        return step is not None
