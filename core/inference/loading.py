"""One model onto one provider: prepared weights, options, TensorRT engine, the check against the CPU, buffers.

Which provider it becomes is policy (core.inference.providers). On a GPU a model has a fixed number of items of one
call, its calls run on one thread of its own (CUDA graphs and TensorRT's contexts belong to a thread) and it is not
used before it computed what the CPU computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from core.errors import ModelError, StorageError
from core.inference.batches import call_items
from core.inference.binding import BoundRunner, PlainRunner, Runner
from core.inference.engines import EngineKey, build_engine, find_engine
from core.inference.gpu import look_at_gpu, tensorrt_version
from core.inference.manifest import ModelManifest
from core.inference.prepared import Ready, get_ready
from core.inference.providers import (
    CPU,
    CUDA,
    TENSORRT,
    DeviceSpec,
    EngineFiles,
    open_inner,
    provider_options,
    providers_of,
    session_options,
    try_provider,
    wanted,
)
from core.inference.reference import ITEMS, check_outputs, stored_reference
from core.inference.residency import is_out_of_memory
from core.records import Float32Array
from core.records.models import Precision

HINT = "run: farm doctor"
WARM_UP_CALLS = 4  # two plain ones, the one in which a CUDA graph is captured, and one of the graph's replay

CALLED = {TENSORRT: "TensorRT", CUDA: "CUDA", CPU: "the CPU"}

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to run. `batch`: items of one call, None for any number. `numbers`: the shapes of inputs
    that hold one number for the whole call."""

    inner: ort.InferenceSession
    runner: Runner
    provider: str
    device: str
    ready: Ready
    batch: int | None
    numbers: Mapping[str, Sequence[Any]]
    thread: ThreadPoolExecutor | None

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[Float32Array]:
        """One call; raises whatever ONNX Runtime raises. An input of one number for the whole call, or of the same
        number for each item, gets the shape that the graph states."""
        if self.numbers:
            count = max(len(feed) for name, feed in feeds.items() if name not in self.numbers)
            feeds = dict(feeds)
            for name, shape in self.numbers.items():
                sizes = [size if isinstance(size, int) else count for size in shape]
                feeds[name] = np.full(sizes, np.ravel(feeds[name])[0])
        if self.thread is None:
            return self.runner.run(feeds)
        future: Future[list[Float32Array]] = self.thread.submit(self.runner.run, feeds)
        return future.result()

    def run_items(self, feeds: Mapping[str, NDArray[Any]]) -> list[Float32Array]:
        """As many calls as the batch demands; the number of items is a multiple of it."""
        count = max(len(feed) for feed in feeds.values())
        size = self.batch or count
        parts = [
            self.run({name: feed[start : start + size] for name, feed in feeds.items()})
            for start in range(0, count, size)
        ]
        return [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]

    def close(self) -> None:
        """No further calls; one that is running ends first, then the memory is given back."""
        if self.thread is not None:
            self.thread.shutdown(wait=False)


class Loader:
    """Loads models for one actor. Thread-safe as far as its callers load one model at a time."""

    def __init__(
        self, cache: Path, spec: DeviceSpec, progress: Progress | None = None, slow: Progress | None = None
    ) -> None:
        self._cache = cache
        self._spec = spec
        self._progress = progress or (lambda _: None)
        self._slow = slow or (lambda _: None)
        self._notes: dict[str, None] = {}
        self._usable: tuple[str, ...] | None = None
        self._ready: dict[tuple[str, int | None, Precision], Ready] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not as it was wished for and why, each once: providers passed over, another precision or batch."""
        return tuple(self._notes)

    def _note(self, line: str) -> None:
        if line not in self._notes:
            self._notes[line] = None
            self._progress(line)

    def usable(self) -> tuple[str, ...]:
        """The providers of the wish that compute the probe graph, best first; `ModelError` when there is none."""
        if self._usable is None:
            reasons = {name: try_provider(name, self._spec.device_id) for name in wanted(self._spec.wish)}
            found = tuple(name for name, reason in reasons.items() if reason is None)
            if not found:
                name, reason = next(iter(reasons.items()))
                raise ModelError(
                    f"{self._spec.wish} was asked for, and {name} does not work here: {reason}",
                    hint=f"use the device auto or cpu, or {HINT}",
                )
            self._usable = found
            for line in passed_over(reasons, found[0]):
                self._note(line)
        return self._usable

    def load(self, manifest: ModelManifest, precision: Precision, limit: int | None) -> Loaded:
        """The model on the best provider; at most `limit` items of one call where the batch is fixed.

        With the wish "auto" a provider that refuses the model is passed over, which `notes` and `progress` are told.
        Raises `ModelError` when no provider takes it, or the weights are missing, altered or refused.
        """
        usable = self.usable()
        for number, provider in enumerate(usable):
            most = call_items(manifest, self._spec.batch)
            batch = None if provider == CPU else min(most, limit or most)
            ready = self._prepared(manifest, batch, precision)
            try:
                return self._on(provider, manifest, ready)
            except ModelError as error:
                if number == len(usable) - 1 or is_out_of_memory(error.what):
                    raise
                self._note(f"{error}; {usable[number + 1]} is tried instead")
        raise ModelError("no provider", where=f"model {manifest.id}", hint=HINT)

    def build(self, manifest: ModelManifest, precision: Precision) -> EngineFiles | None:
        """What `load` would make and takes long: the model's variant, and the TensorRT engine, which is returned.

        None for a model that TensorRT does not run here. Raises `ModelError` like `load`.
        """
        on_cpu = self.usable()[0] == CPU
        ready = self._prepared(manifest, None if on_cpu else call_items(manifest, self._spec.batch), precision)
        if TENSORRT not in self.usable() or not is_static(manifest):
            return None
        return self._engine(manifest, ready, build=True)

    def _prepared(self, manifest: ModelManifest, batch: int | None, precision: Precision) -> Ready:
        """The file to load; its hash is computed the first time."""
        key = (manifest.id, batch, precision)
        if key not in self._ready:
            self._ready[key] = get_ready(manifest, self._cache, batch, precision, self._progress, self._note)
        return self._ready[key]

    def _on(self, provider: str, manifest: ModelManifest, ready: Ready) -> Loaded:
        if provider == CPU:
            return self._open(CPU, manifest, ready, graph=False, engine=None)
        engine = None
        if provider == TENSORRT:
            if not is_static(manifest):  # profiles of shapes would be built anew with every size of film
                provider = CUDA
            else:
                engine = self._engine(manifest, ready, build=self._spec.wish == "tensorrt")
                if engine is None:
                    raise ModelError(
                        "no TensorRT engine is built for it here",
                        where=f"model {manifest.id}",
                        hint="farm models build",
                    )
        for graph in (True, False) if is_static(manifest) else (False,):
            try:
                return self._checked(provider, manifest, ready, graph=graph, engine=engine)
            except ModelError as error:
                if not graph or is_out_of_memory(error.what):
                    raise
                self._note(f"{error}; without a CUDA graph")
        raise ModelError("not loaded", where=f"model {manifest.id}", hint=HINT)

    def _checked(
        self,
        provider: str,
        manifest: ModelManifest,
        ready: Ready,
        *,
        graph: bool,
        engine: EngineFiles | None,
    ) -> Loaded:
        """Loaded, warmed up and compared with the reference."""
        plain = self._prepared(manifest, None, "fp32")
        reference = stored_reference(
            manifest,
            plain.path.with_name(f"{plain.path.stem}.reference.npz"),
            plain.file_sha256,
            lambda feeds: self._open(CPU, manifest, plain, graph=False, engine=None).run_items(feeds),
        )
        loaded = self._open(provider, manifest, ready, graph=graph, engine=engine)
        try:
            for _ in range(WARM_UP_CALLS):
                outputs = loaded.run(filled(reference.feeds, ready.batch or ITEMS))
        except Exception as error:  # ONNX Runtime raises several unrelated types
            loaded.close()
            raise ModelError(first_line(error), where=f"model {manifest.id} on {provider}", hint=HINT) from error
        count = min(ITEMS, ready.batch or ITEMS)
        expected = reference.first(count)
        check_outputs(manifest, expected, [output[:count] for output in outputs], ready.precision)
        return loaded

    def _open(
        self,
        provider: str,
        manifest: ModelManifest,
        ready: Ready,
        *,
        graph: bool,
        engine: EngineFiles | None,
    ) -> Loaded:
        """A session that really is on `provider`."""
        where = f"model {manifest.id}"
        on_cpu = provider == CPU
        thread = None if on_cpu else ThreadPoolExecutor(1, thread_name_prefix=f"model {manifest.id}")
        model = engine.wrapper if engine is not None and engine.wrapper.exists() else ready.path
        options = session_options(provider, self._spec, fixed=fixed_dimensions(manifest, ready.batch))
        providers = {
            name: provider_options(
                name,
                self._spec,
                precision=ready.precision,
                static=is_static(manifest),
                graph=graph and name == provider,
                engine=engine,
            )
            for name in providers_of(provider)
        }
        try:
            if thread is None:
                inner = open_inner(model, options, providers)
            else:
                inner = thread.submit(open_inner, model, options, providers).result()
        except Exception as error:  # as above
            raise ModelError(first_line(error), where=where, hint=HINT) from error
        if (really := inner.get_providers()[0]) != provider:
            raise ModelError(f"runs on {really} where {provider} was asked for", where=where, hint=HINT)
        names = output_names(inner, manifest)
        return Loaded(
            inner=inner,
            runner=PlainRunner(inner, names) if on_cpu else BoundRunner(inner, names, "cuda", self._spec.device_id),
            provider=provider,
            device="cpu" if on_cpu else self._gpu_name(),
            ready=ready,
            batch=fixed_batch(inner, manifest) if ready.batch is None else ready.batch,
            numbers={value.name: value.shape for value in inner.get_inputs() if len(value.shape) < 2},
            thread=thread,
        )

    def _gpu_name(self) -> str:
        try:
            return look_at_gpu(self._spec.device_id).name
        except ModelError:  # a container without NVML computes all the same
            return f"GPU {self._spec.device_id}"

    def _engine(self, manifest: ModelManifest, ready: Ready, *, build: bool) -> EngineFiles | None:
        gpu = look_at_gpu(self._spec.device_id)
        key = EngineKey(
            model=manifest.id,
            sha256=ready.file_sha256,
            batch=ready.batch or 1,
            precision=ready.precision,
            onnxruntime=ort.__version__,
            tensorrt=tensorrt_version(),
            capability=gpu.capability,
            driver=gpu.driver,
        )
        if not build:
            try:
                return find_engine(key, self._cache, self._spec.shelf)
            except StorageError as error:  # another provider does not need what cannot be had
                raise ModelError(error.what, where=error.where, hint=error.hint) from error

        def make(files: EngineFiles) -> None:
            options = session_options(TENSORRT, self._spec, fixed=fixed_dimensions(manifest, ready.batch))
            each = {
                name: provider_options(name, self._spec, precision=ready.precision, engine=files, build=True)
                for name in providers_of(TENSORRT)
            }
            try:
                open_inner(ready.path, options, each)
            except Exception as error:  # as above
                raise ModelError(first_line(error), where=f"model {manifest.id}", hint=HINT) from error

        def tell(line: str) -> None:
            self._progress(line)
            self._slow(line)

        return build_engine(key, self._cache, make, tell, self._spec.shelf)


def passed_over(reasons: Mapping[str, str | None], taken: str) -> list[str]:
    """A line for each reason why better providers than `taken` are not used; `reasons` are by name, best first."""
    better = list(reasons)[: list(reasons).index(taken)]
    names: dict[str, list[str]] = {}
    for name in better:
        names.setdefault(str(reasons[name]), []).append(CALLED[name])
    return [f"models run on {CALLED[taken]}, not on {' or '.join(each)}: {reason}" for reason, each in names.items()]


def is_static(manifest: ModelManifest) -> bool:
    """Whether only the number of items is open in the model's inputs."""
    return all(isinstance(size, int) for spec in manifest.inputs for size in spec.shape[1:])


def fixed_dimensions(manifest: ModelManifest, batch: int | None) -> dict[str, int]:
    """The names of dimensions that the graph leaves open, with the sizes they get on a GPU; none for an open batch.

    Embedded models name their number of items as the manifest does; surgery names every other open dimension of an
    input after the input and the axis. Without open sizes the runtime folds a detector's arithmetic on shapes, which
    GPUs leave to the CPU.
    """
    if batch is None:
        return {}
    items = {spec.shape[0]: batch for spec in manifest.inputs if spec.shape and isinstance(spec.shape[0], str)}
    sizes = {
        f"{spec.name}_{axis}": size
        for spec in manifest.inputs
        for axis, size in enumerate(spec.shape)
        if axis > 0 and isinstance(size, int)
    }
    return items | sizes


def fixed_batch(inner: ort.InferenceSession, manifest: ModelManifest) -> int | None:
    """The number of items that the graph states, None where it leaves that open."""
    counted = {spec.name for spec in manifest.inputs if len(spec.shape) > 1}
    first = {value.shape[0] for value in inner.get_inputs() if value.name in counted and value.shape}
    sizes = {size for size in first if isinstance(size, int)}
    return int(sizes.pop()) if len(sizes) == 1 else None


def output_names(inner: ort.InferenceSession, manifest: ModelManifest) -> list[str]:
    """What the graph calls the manifest's outputs. Exporters name outputs as they like: where none of the manifest's
    names is there, they are taken in order. `ModelError` for missing inputs or outputs."""
    where = f"model {manifest.id}"
    inputs = {value.name for value in inner.get_inputs()}
    if missing := [spec.name for spec in manifest.inputs if spec.name not in inputs]:
        raise ModelError(f"no inputs named {', '.join(missing)}", where=where)
    have = [value.name for value in inner.get_outputs()]
    names = [spec.name for spec in manifest.outputs]
    if not set(names) & set(have) and len(have) >= len(names):
        return have[: len(names)]
    if missing := [name for name in names if name not in have]:
        raise ModelError(f"no outputs named {', '.join(missing)}", where=where)
    return names


def filled(feeds: Mapping[str, Float32Array], count: int) -> dict[str, Float32Array]:
    """The items of the feeds in turns, `count` of them."""
    return {name: feed[[item % len(feed) for item in range(count)]] for name, feed in feeds.items()}


def first_line(error: Exception) -> str:
    """What a foreign exception says, in one line."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
