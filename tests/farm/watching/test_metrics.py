"""The figures: counted by hand, over jobs that share a pool, and read from a page."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from actors.dispatch import Assign, Beat, Cancel, Done, NodeGone, NodeLeaves, SlotDied, SlotReady
from core.errors import InputError, PlanError
from farm.watching.figures import BY_NAME, FIGURES, Figure
from farm.watching.instruments import LOCAL, Page, PrometheusInstruments, Several, parse_address
from farm.watching.metrics import Metrics, counted
from tests.farm.watching.jobs import look, order
from tests.farm.watching.scrapes import scrape
from tests.media_clips import make_clip
from tests.system.runs import DEADLINE_S, ROOT, farm_here

IN_NO_CLUSTER = """
from farm.watching.figures import BY_NAME
from farm.watching.instruments import RayInstruments

instruments = RayInstruments()
instruments.add(BY_NAME["farm_frames_total"], 5, "render", "L4")
instruments.add(BY_NAME["farm_frames_total"], 6, "render", "L4")
instruments.set(BY_NAME["farm_jobs"], 1)
print(instruments._held)
"""


class Book:
    """Instruments that remember."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}

    def _check(self, figure: Figure, kind: str, labels: tuple[str, ...]) -> None:
        assert figure.kind == kind
        assert len(labels) == len(figure.labels)
        assert all(labels)

    def add(self, figure: Figure, amount: float, *labels: str) -> None:
        self._check(figure, "counter", labels)
        assert amount >= 0
        self.values[figure.name, *labels] = self.values.get((figure.name, *labels), 0.0) + amount

    def set(self, figure: Figure, value: float, *labels: str) -> None:
        self._check(figure, "gauge", labels)
        self.values[figure.name, *labels] = value

    def observe(self, figure: Figure, value: float, *labels: str) -> None:
        self._check(figure, "histogram", labels)
        self.values[figure.name, *labels] = self.values.get((figure.name, *labels), 0.0) + value

    def of(self, name: str) -> dict[tuple[str, ...], float]:
        return {key[1:]: value for key, value in self.values.items() if key[0] == name and value}


class Time:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_job_from_begin_to_end() -> None:
    book, time = Book(), Time()
    money = [0.0]
    with Metrics(book, time).job(lambda: (money[0], "USD")) as job:
        assert book.of("farm_jobs") == {(): 1}
        job.stage("render")
        orders = [order(number, 50, 4) for number in range(4)]
        hear = job.watch(orders, orders[1:])
        assert book.of("farm_segments") == {("render", "waiting"): 3, ("render", "reused"): 1}
        assert book.of("farm_queue_segments") == {(): 3}
        hear(SlotReady("s", 2, "node", "L4"), 0.0)
        time.now_s = 10.0
        hear(Assign("s", "o1", 1), 10.0)
        time.now_s, money[0] = 15.0, 0.25
        hear(Beat("s", "o1", 1, 9), 15.0)
        assert book.of("farm_renderers") == {("L4", "busy"): 1}
        time.now_s = 30.0
        hear(Done("s", "o1", 1), 30.0)
        time.now_s = 32.0
        hear(Assign("s", "o2", 1), 32.0)
        hear(SlotDied("s", "killed"), 32.0)
        time.now_s = 40.0
        hear(SlotReady("s", 2, "node", "L4"), 40.0)
        assert book.of("farm_queue_segments") == {(): 2}
        job.stage("join")
        time.now_s = 45.0
    assert book.of("farm_frames_total") == {("render", "L4"): 50}
    assert book.of("farm_faces_total") == {("L4",): 4}
    assert book.of("farm_film_seconds_total") == {(): 2.0}
    assert book.of("farm_segment_seconds") == {("render", "L4"): 20.0}
    assert book.of("farm_retries_total") == {("died",): 1}
    assert book.of("farm_renderer_seconds_total") == {("L4", "busy"): 20.0, ("L4", "idle"): 17.0}
    assert book.of("farm_stage_seconds_total") == {("render",): 40.0, ("join",): 5.0}
    assert book.of("farm_cost_total") == {("USD",): 0.25}
    assert book.of("farm_jobs_ended_total") == {("finished",): 1}
    for name in ("farm_jobs", "farm_segments", "farm_queue_segments", "farm_renderers"):
        assert book.of(name) == {}, name


def test_jobs_of_one_pool_count_its_renderers_and_nodes_once() -> None:
    book, time = Book(), Time()
    metrics = Metrics(book, time)
    with metrics.job() as one, metrics.job() as two:
        hears = [one.watch([order(0)], [order(0)]), two.watch([look(0)], [look(0)])]
        for hear in hears:
            for number in range(3):
                hear(SlotReady(f"s{number}", 2, f"n{number}", "L4"), 0.0)
        hears[0](Assign("s0", "o0", 1), 0.0)
        hears[1](Assign("s1", "a0", 1), 0.0)
        time.now_s = 5.0
        for hear in hears:
            hear(Beat("s0", "x", 1, 1), 5.0)
        assert book.of("farm_renderers") == {("L4", "busy"): 2, ("L4", "idle"): 1}
        assert book.of("farm_segments") == {("render", "running"): 1, ("analyse", "running"): 1}
        for hear in hears:
            hear(NodeLeaves("n0", 60.0), 6.0)
            hear(NodeGone("n1", "gone"), 6.0)
        for hear in hears:
            hear(NodeGone("n0", "gone"), 7.0)
        assert book.of("farm_nodes_lost_total") == {("L4", "yes"): 1, ("L4", "no"): 1}
        assert book.of("farm_retries_total") == {("notice",): 1, ("node",): 1}
        for hear in hears:  # the second job hears later, as its thread comes to it
            hear(SlotReady("s1", 2, "n1", "L4"), 8.0)
            hear(SlotReady("s0", 2, "n0", "L4"), 8.0)
            hear(NodeGone("n1", "gone"), 9.0)
        with metrics.job() as late:
            hear = late.watch([order(1)], [order(1)])
            hear(SlotReady("s0", 2, "n0", "L4"), 10.0)
            hears[0](NodeLeaves("n0", 60.0), 11.0)
            hear(NodeGone("n0", "gone"), 12.0)
        assert book.of("farm_nodes_lost_total") == {("L4", "yes"): 2, ("L4", "no"): 2}
    assert book.of("farm_jobs_ended_total") == {("finished",): 3}


def test_what_is_given_up_is_no_retry_and_a_failed_job_is_told() -> None:
    book = Book()

    def fail() -> None:
        with Metrics(book).job() as job:
            hear = job.watch([order(0)], [order(0)])
            hear(SlotReady("s", 1), 0.0)
            hear(Assign("s", "o0", 1), 0.0)
            hear(Cancel("s", "o0", 1, "moved to a renderer without work"), 0.0)
            raise PlanError("over")

    with pytest.raises(PlanError):
        fail()
    assert book.of("farm_retries_total") == {}
    assert book.of("farm_jobs_ended_total") == {("failed",): 1}


def test_nobody_counts() -> None:
    with counted(None) as listeners:
        assert list(listeners) == []


def test_a_page() -> None:
    instruments = PrometheusInstruments()
    for number, figure in enumerate(FIGURES, 1):
        labels = [f"a {label}" for label in figure.labels]
        {"counter": instruments.add, "gauge": instruments.set, "histogram": instruments.observe}[figure.kind](
            figure, number, *labels
        )
    page = Page(LOCAL, 0, instruments.registry)
    try:
        told = scrape(page.address)
        for number, figure in enumerate(FIGURES, 1):
            name = f"{figure.name}_sum" if figure.kind == "histogram" else figure.name
            assert told[name] == [({label: f"a {label}" for label in figure.labels}, float(number))]
        assert told["process_resident_memory_bytes"][0][1] > 1e6
        with pytest.raises(InputError, match="no page of metrics"):
            Page(LOCAL, int(page.address.rpartition(":")[2].split("/")[0]), instruments.registry)
    finally:
        page.close()
    with pytest.raises(urllib.error.URLError):
        scrape(page.address)


def test_what_ray_is_told_before_it_runs_is_held_back() -> None:
    """In a process of its own: this one is in a cluster where another test has begun one."""
    program = [sys.executable, "-c", IN_NO_CLUSTER]
    told = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert told.stdout + told.stderr == "{('farm_frames_total', ('render', 'L4')): 11.0}\n"


def test_several() -> None:
    books = Book(), Book()
    several = Several(books)
    several.add(BY_NAME["farm_faces_total"], 3, "L4")
    several.set(BY_NAME["farm_jobs"], 2)
    several.observe(BY_NAME["farm_segment_seconds"], 1, "render", "L4")
    assert books[0].values == books[1].values
    assert len(books[0].values) == 3


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9108", (LOCAL, 9108)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[::1]:80", ("::1", 80)),
        ("host:65535", ("host", 65535)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "x", ":80", "host:", "host:x", "65536", "-1", "1.5", "٣"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(InputError, match="is no port"):
        parse_address(text)


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        host, port = parse_address(text)
    except InputError:
        return
    assert host
    assert 0 <= port <= 65535


@pytest.mark.parametrize("host", ["198.51.100.7", "no-such-host.invalid"])  # RFC 5737, RFC 2606
def test_a_host_that_is_not_here_is_told(host: str) -> None:
    with pytest.raises(InputError, match="no page of metrics"):
        Page(host, 0, PrometheusInstruments().registry)


def test_the_option(clips: Path, tmp_path: Path) -> None:
    arguments = ["render", make_clip("h264_mov", clips), "-o", tmp_path / "out.mov", "--swapper", "none", "--local"]
    ran = farm_here(*arguments, "--metrics-port", "0")
    assert ran.code == 0
    assert ran.err.startswith("farm: metrics at http://127.0.0.1:")
    refused = farm_here(*arguments, "--metrics-port", "80:")
    assert (refused.code, refused.error_line) == (2, "farm: --metrics-port: '80:' is no port; write PORT or HOST:PORT")
