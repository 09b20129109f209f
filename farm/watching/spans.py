"""Traces: a span of OpenTelemetry for a job, each of its stages, and each attempt at a segment.

Sent where the environment names a collector (OTEL_EXPORTER_OTLP_ENDPOINT and its relatives, as in
https://opentelemetry.io/docs/specs/otel/protocol/exporter/), over HTTP. An attempt lasts from
when it was heard that it was given out until it was heard how it ended; its parent is the stage.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, Status, StatusCode

from actors.drive import Happening, Order, Watch
from farm.watching.status import outcome
from farm.watching.tally import Attempt, Began, Ended, Tally, map_of


def collector() -> SpanExporter:
    """To the collector that the environment names."""
    from opentelemetry.exporter.otlp.proto.http import trace_exporter  # noqa: PLC0415 - only now

    logging.getLogger(trace_exporter.__name__).setLevel(logging.CRITICAL)  # what it could not send is told once, by us
    return trace_exporter.OTLPSpanExporter()


class Counting(SpanExporter):
    """Another exporter, and how many spans it could not send."""

    def __init__(self, to: SpanExporter) -> None:
        self._to = to
        self.unsent = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._to.export(spans)
        self.unsent += len(spans) if result is SpanExportResult.FAILURE else 0
        return result

    def shutdown(self) -> None:
        self._to.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._to.force_flush(timeout_millis)


class Spans:
    """A `Progress` that traces one job named `job` while it is entered; leaving it sends what is left.

    `tell` gets a line about spans that could not be sent.
    """

    def __init__(
        self,
        job: str,
        exporter: SpanExporter,
        tell: Callable[[str], None] = lambda _: None,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._exporter = Counting(exporter)
        self._tell = tell
        self._job = job
        self._wall_ns = wall_ns
        self._provider = TracerProvider(resource=Resource.create({"service.name": "farm"}), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("farm")
        self._tally = Tally()
        self._map = ""
        self._whole: Span | None = None
        self._stage: Span | None = None
        self._running: dict[int, Span] = {}  # by the attempt's identity

    def __enter__(self) -> Spans:
        self._whole = self._begin("job", None, self._wall_ns(), {"farm.job": self._job})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traced: TracebackType | None
    ) -> None:
        del kind, traced
        now_ns = self._wall_ns()
        state, told, _ = outcome(error)
        for span in self._running.values():
            _end(span, now_ns, told if error is not None else "the job ended")
        self._running = {}
        for one in (self._stage, self._whole):
            if one is not None:
                one.set_attribute("farm.state", state)
                _end(one, now_ns, told)
        self._provider.shutdown()
        if self._exporter.unsent:
            self._tell(f"{self._exporter.unsent} spans were not taken by the collector of OTEL_EXPORTER_OTLP_ENDPOINT")

    def _begin(self, name: str, parent: Span | None, at_ns: int, attributes: dict[str, Any]) -> Span:
        context = trace.set_span_in_context(parent) if parent is not None else None
        return self._tracer.start_span(name, context=context, start_time=at_ns, attributes=attributes)

    def stage(self, name: str) -> None:
        now_ns = self._wall_ns()
        if self._stage is not None:
            _end(self._stage, now_ns)
        self._stage = self._begin(f"stage {name}", self._whole, now_ns, {"farm.stage": name})

    def watch(self, orders: Sequence[Order], open_orders: Sequence[Order]) -> Watch:
        self._tally.begin(orders, open_orders)
        self._map = map_of(orders[0]) if orders else ""
        if self._stage is not None:
            self._stage.set_attributes({"farm.segments": len(orders), "farm.segments_open": len(open_orders)})
        return self._hear

    def note(self, text: str) -> None:
        if self._stage is not None:
            self._stage.add_event(text, timestamp=self._wall_ns())

    def close(self) -> None:
        """Leaving does it."""

    def _hear(self, happening: Happening, at_s: float) -> None:
        facts = self._tally.hear(happening, at_s)
        if not facts:
            return
        now_ns = self._wall_ns()
        for fact in facts:
            match fact:
                case Began():
                    self._running[id(fact.attempt)] = self._attempt(fact.attempt, now_ns)
                case Ended():
                    span = self._running.pop(id(fact.attempt))
                    span.set_attributes({"farm.outcome": fact.how, "farm.cause": fact.cause})
                    _end(span, now_ns, fact.why if fact.how in {"failed", "lost"} else "")
                case _:
                    pass

    def _attempt(self, one: Attempt, at_ns: int) -> Span:
        attributes = {
            "farm.map": self._map,
            "farm.segment": one.order.segment.index,
            "farm.attempt": one.number,
            "farm.slot": one.renderer.name,
            "farm.node": one.renderer.node,
            "farm.kind": one.renderer.kind,
            "farm.frames": one.order.segment.frames,
            "farm.faces": one.faces,
        }
        return self._begin(f"{self._map} segment", self._stage, at_ns, attributes)


def _end(span: Span, at_ns: int, error: str = "") -> None:
    if error:
        span.set_status(Status(StatusCode.ERROR, error))
    span.end(at_ns)
