"""Traces, as a collector gets them over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from actors.dispatch import Assign, Done, SlotDied, SlotReady
from core.errors import PlanError
from farm.settings import traces_wanted
from farm.watching.spans import Spans
from tests.farm.watching.jobs import order
from tests.media_clips import make_clip
from tests.system.runs import PROGRESS, farm_here


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.spans: list[Span] = []
        self.services: set[str] = set()


class Taking(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        request = ExportTraceServiceRequest()
        request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
        assert isinstance(self.server, Collector)
        for resource in request.resource_spans:
            named = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.server.services.add(named["service.name"])
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing is said."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_command_s_trace(collector: Collector, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    film, out = make_clip("h264_mov", clips), tmp_path / "out.mov"
    assert farm_here("render", film, "-o", out, "--swapper", "none", "--local", "--segment-seconds", "0.5").code == 0
    spans = {span.span_id: span for span in collector.spans}
    assert collector.services == {"farm"}
    assert len({span.trace_id for span in spans.values()}) == 1
    (job,) = [span for span in spans.values() if not span.parent_span_id]
    assert (job.name, job.attributes[0].value.string_value) == ("job", str(out))
    stages = [span for span in spans.values() if span.name.startswith("stage ")]
    assert {span.name for span in stages} >= {"stage index", "stage render", "stage join", "stage publish"}
    assert {span.parent_span_id for span in stages} == {job.span_id}
    segments = [span for span in spans.values() if span.name == "render segment"]
    assert {spans[span.parent_span_id].name for span in segments} == {"stage render"}
    numbers = sorted(one.value.int_value for span in segments for one in span.attributes if one.key == "farm.segment")
    assert numbers == list(range(len(segments)))
    assert len(segments) > 1
    for span in spans.values():
        assert job.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= job.end_time_unix_nano


def test_what_was_lost_and_a_job_that_failed() -> None:
    exporter = InMemorySpanExporter()

    def fail() -> None:
        with Spans("out.mp4", exporter) as spans:
            spans.stage("render")
            hear = spans.watch([order(0), order(1)], [order(0), order(1)])
            hear(SlotReady("s", 2, "node", "L4"), 0.0)
            hear(Assign("s", "o0", 1), 0.0)
            hear(SlotDied("s", "killed"), 1.0)
            hear(Assign("s", "o0", 2), 2.0)
            hear(Done("s", "o0", 2), 3.0)
            hear(Assign("s", "o1", 1), 4.0)
            spans.note("look")
            raise PlanError("over")

    with pytest.raises(PlanError):
        fail()
    told = [
        (span.name, (span.attributes or {}).get("farm.outcome"), span.status.description)
        for span in exporter.get_finished_spans()
    ]
    assert told == [
        ("render segment", "lost", "killed"),
        ("render segment", "done", None),
        ("render segment", None, "over"),
        ("stage render", None, "over"),
        ("job", None, "over"),
    ]


def test_a_collector_that_is_not_there_stops_no_job(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    film, out = make_clip("h264_mov", clips), tmp_path / "out.mov"
    ran = farm_here("render", film, "-o", out, "--swapper", "none", "--local")
    assert ran.code == 0
    assert out.exists()
    lines = [line for line in ran.err.splitlines() if not PROGRESS.match(line)]
    assert [line.startswith("farm: ") for line in lines] == [True, True]
    assert "spans were not taken by the collector" in lines[0]


def test_who_wants_traces() -> None:
    assert traces_wanted({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a"})
    assert not traces_wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_SDK_DISABLED": "TRUE"})
    assert not traces_wanted({})
