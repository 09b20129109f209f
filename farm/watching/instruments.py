"""Figures as Prometheus reads them: from this process, or through the agents of Ray's nodes, or nowhere."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server

from core.errors import InputError
from farm.watching.figures import FIGURES, UNKNOWN, Figure, Instruments

LOCAL = "127.0.0.1"
ALMOST_NOTHING = 1e-9  # what Ray's counters begin with, which take no 0


class PrometheusInstruments:
    """Figures in `registry`, which also has this process's own (memory, processor seconds)."""

    def __init__(self, registry: CollectorRegistry | None = None, figures: Sequence[Figure] = FIGURES) -> None:
        self.registry = registry or CollectorRegistry()
        if registry is None:
            ProcessCollector(registry=self.registry)
        self._made: dict[str, Any] = {}
        for figure in figures:
            if figure.kind == "histogram":
                made: Any = Histogram(
                    figure.name, figure.help, figure.labels, buckets=figure.buckets, registry=self.registry
                )
            else:
                made = (Counter if figure.kind == "counter" else Gauge)(
                    figure.name, figure.help, figure.labels, registry=self.registry
                )
            self._made[figure.name] = made

    def _of(self, figure: Figure, labels: tuple[str, ...]) -> Any:
        made = self._made[figure.name]
        return made.labels(*labels) if figure.labels else made

    def add(self, figure: Figure, amount: float, *labels: str) -> None:
        self._of(figure, labels).inc(amount)

    def set(self, figure: Figure, value: float, *labels: str) -> None:
        self._of(figure, labels).set(value)

    def observe(self, figure: Figure, value: float, *labels: str) -> None:
        self._of(figure, labels).observe(value)


class RayInstruments:
    """Figures through ray.util.metrics: each node of the cluster has a page with those of its processes.

    Ray drops what it is told while this process is in no cluster, so counts are held back until it is in one.
    """

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._held: dict[tuple[str, tuple[str, ...]], float] = {}
        self._figures: dict[str, Figure] = {}
        self._there: set[tuple[str, tuple[str, ...]]] = set()
        self._lock = threading.Lock()

    def _of(self, figure: Figure) -> Any:
        """Ray's metric, None while this process is in no cluster."""
        import ray  # noqa: PLC0415 - takes a second, which --local saves
        from ray.util import metrics  # noqa: PLC0415

        if not ray.is_initialized():
            return None
        if figure.name not in self._made:
            self._made[figure.name] = (
                metrics.Histogram(figure.name, figure.help, list(figure.buckets), figure.labels)
                if figure.kind == "histogram"
                else (metrics.Counter if figure.kind == "counter" else metrics.Gauge)(
                    figure.name, figure.help, figure.labels
                )
            )
        return self._made[figure.name]

    def add(self, figure: Figure, amount: float, *labels: str) -> None:
        with self._lock:
            key = (figure.name, labels)
            self._figures[figure.name] = figure
            self._held[key] = self._held.get(key, 0.0) + amount
            if self._of(figure) is None:
                return
            for (name, values), held in self._held.items():
                told = held if held > 0 or (name, values) in self._there else ALMOST_NOTHING
                if told > 0:
                    named = self._figures[name]
                    self._of(named).inc(told, _tags(named, values))
            self._there |= self._held.keys()
            self._held = {}

    def set(self, figure: Figure, value: float, *labels: str) -> None:
        with self._lock:
            made = self._of(figure)
            if made is not None:
                made.set(value, _tags(figure, labels))

    def observe(self, figure: Figure, value: float, *labels: str) -> None:
        with self._lock:
            made = self._of(figure)
            if made is not None:
                made.observe(value, _tags(figure, labels))


def _tags(figure: Figure, labels: tuple[str, ...]) -> dict[str, str]:
    return {name: value or UNKNOWN for name, value in zip(figure.labels, labels, strict=True)}


class Several:
    """All of `parts`."""

    def __init__(self, parts: Sequence[Instruments]) -> None:
        self._parts = parts

    def add(self, figure: Figure, amount: float, *labels: str) -> None:
        for part in self._parts:
            part.add(figure, amount, *labels)

    def set(self, figure: Figure, value: float, *labels: str) -> None:
        for part in self._parts:
            part.set(figure, value, *labels)

    def observe(self, figure: Figure, value: float, *labels: str) -> None:
        for part in self._parts:
            part.observe(figure, value, *labels)


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of PORT or HOST:PORT, on this machine alone without a host; `InputError` for anything else."""
    host, _, port = text.strip().rpartition(":")
    if not port.isascii() or not port.isdecimal() or int(port) > 65535 or (":" in text and not host):
        raise InputError(f"{text!r} is no port", where="--metrics-port", hint="write PORT or HOST:PORT")
    return host.strip("[]") or LOCAL, int(port)


class Page:
    """The figures of `registry` at http://HOST:PORT/metrics, until it is closed."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        """`InputError` where nothing can listen there. Port 0 takes any that is free."""
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise InputError(
                f"no page of metrics can be there: {error.strerror or error}",
                where=f"{host}:{port}",
                hint="choose another --metrics-port",
            ) from error
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{self._server.server_port}/metrics"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
