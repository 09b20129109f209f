"""Laws of the estimate, spans that were worked out by hand, and a film whose faces become known."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import imageio.v3 as iio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from core.records import EncodeSpec, JobSpec, Range, SegmentReceipt, SourceSpec, SwapOptions
from farm.cost.estimate import cloud_node, estimate_on, least_money, own_machine, places_of
from farm.cost.job import estimate_job
from farm.cost.prices import Price, load_prices
from farm.cost.rates import (
    Load,
    Machine,
    Measured,
    flop_of,
    measured_of,
    same_device,
    slot_seconds,
    span,
    table,
)
from farm.cost.work import OpenWork
from farm.driver import run_job
from farm.settings import RunOptions, Settings
from tests.faces_assets import astronaut, carphone_clip, model_cache
from tests.farm.test_driver import UNDISTURBED, At

FRAMES = 12


@st.composite
def loads(draw: st.DrawFn) -> Load:
    frames = draw(st.integers(0, 200_000))
    looked = draw(st.integers(0, frames))
    faces = draw(st.integers(0, 300_000))
    more = draw(st.integers(0, 300_000))
    flop = draw(st.sampled_from([Range(0, 0), Range(3.49e11, 3.49e11), Range(1e11, 1.5e12)]))
    return Load(
        megapixels=draw(st.floats(0.01, 9)),
        codec=draw(st.sampled_from(["h264", "av1", "cinepak"])),
        preset=draw(st.sampled_from(["", "8", "veryfast"])),
        analyse_frames=frames,
        looked=looked,
        found=Range(0, 3 * looked),
        render_frames=draw(st.integers(0, 200_000)),
        faces=Range(faces, faces + more),
        flop=flop,
    )


machines = st.builds(
    Machine, st.sampled_from([0.0, 1.0, 4.0, 96.0]), st.sampled_from(["", "L4", "NVIDIA H200", "Voodoo 2"])
)


@given(load=loads(), machine=machines)
def test_the_least_is_not_more_than_the_most(load: Load, machine: Machine) -> None:
    taken = slot_seconds(load, machine, Measured())
    assert 0 <= taken.slot_s.low <= taken.slot_s.high


@given(load=loads(), machine=machines, more=st.integers(1, 1000))
def test_more_work_takes_no_less(load: Load, machine: Machine, more: int) -> None:
    grown = replace(
        load,
        analyse_frames=load.analyse_frames + more,
        looked=load.looked + more,
        render_frames=load.render_frames + more,
        faces=Range(load.faces.low + more, load.faces.high + more),
    )
    less, rest = (slot_seconds(one, machine, Measured()).slot_s for one in (load, grown))
    assert less.low <= rest.low
    assert less.high <= rest.high


@given(load=loads(), workers=st.integers(1, 64))
def test_money_does_not_depend_on_how_many_work_but_for_their_start(load: Load, workers: int) -> None:
    work = OpenWork(1, 1, load)
    prices = load_prices()
    for place in places_of(prices, workers, segments=10):
        one, many = (estimate_on(replace(place, slots=slots), work) for slots in (1, workers))
        assert one.money is not None
        assert many.money is not None
        assert one.money.low == pytest.approx(many.money.low)
        assert least_money([place], load) == pytest.approx(many.money.low)
        assert many.money.low <= many.money.high
        boot_s = span("start", "node").high + span("start", "renderer").high if one.slot_s.high > 0 else 0.0
        assert many.slot_s.high == pytest.approx(one.slot_s.high + (workers - 1) * boot_s)


def test_a_span_worked_out_by_hand() -> None:
    """1000 frames of 2 megapixels with a face each, through inswapper on an L4 beside four cores."""
    flop = flop_of("inswapper_128", SwapOptions())
    load = Load(2.0, "h264", "fast", render_frames=1000, faces=Range(1000, 1000), flop=flop)
    taken = slot_seconds(load, Machine(4.0, "NVIDIA L4"), Measured()).slot_s
    assert taken.low == pytest.approx(max(0.33 * 0.085 * 2000 + 1.5, 4 * 3.49e14 / (1.21e14 * 0.6)) / 4)
    assert taken.high == pytest.approx((2.5 * 0.085 * 2000 + 50) / 2 + 3.49e14 / (1.21e14 * 0.05))
    boosted = flop_of("inswapper_128", SwapOptions(boost=2, masks=("box", "occlusion"), enhancer="gfpgan_1.4"))
    assert boosted.low == 4 * 3.49e11 + 5e9 + 1e11
    assert flop_of("mesh", SwapOptions()) == Range(0, 0)


def test_every_span_of_the_table_is_one() -> None:
    for group, entries in table().items():
        for name in entries:
            for keys in [(name, preset) for preset in entries[name]] if group == "encode" else [(name,)]:
                found = span(group, *keys)
                assert 0 < found.low <= found.high, (group, *keys)


def test_a_machine_with_two_gpus_costs_each_renderer_half() -> None:
    price = Price("big", "spot", 8.0, 8.0, 8.0, gpus=2, cores=16, accelerator="L4")
    node = cloud_node("big", price, 4, 10)
    assert (node.per_node, node.machine) == (2.0, Machine(8.0, "L4"))
    load = Load(2.0, "h264", render_frames=1000)
    found = estimate_on(node, OpenWork(1, 1000, load))
    assert found.money is not None
    assert found.money.low == pytest.approx(found.slot_s.low * 8.0 / 2 / 3600)
    assert found.gpu_s == found.slot_s
    home = own_machine("cpu", None, 2, 8)
    assert estimate_on(home, OpenWork(1, 1000, load)).money is None
    assert least_money([node, home], load) == 0.0
    assert least_money([], load) == 0.0


def receipt(number: int, device: str, *, copied: bool = False) -> SegmentReceipt:
    seconds = {"decode": 2.0, "encode": 6.0, "swap": 4.0}
    numbers = {"size_bytes": 1, "frames": 100, "pts_first": 0, "pts_last": 1, "faces_replaced": 10}
    return SegmentReceipt(
        f"o{number}", number, "f", "0", **numbers, faces_skipped={}, seconds=seconds, provider="", device=device,
        attempt=1, copied=copied,
    )  # fmt: skip


def test_three_receipts_of_the_same_device_go_before_the_table() -> None:
    receipts = [receipt(number, "NVIDIA L4") for number in range(3)]
    found = measured_of([], receipts, "L4").render
    assert found is not None
    assert found.low == pytest.approx(0.7 * 6.0 / 200)
    assert found.high == pytest.approx(1.4 * 12.0 / 200)
    assert measured_of([], receipts[:2], "L4").render is None
    assert measured_of([], receipts, "A10G").render is None
    assert measured_of([], receipts, "").render is None
    assert measured_of([], [*receipts[:2], receipt(3, "NVIDIA L4", copied=True)], "L4").render is None
    taken = slot_seconds(
        Load(2.0, "h264", render_frames=50, faces=Range(5, 15)), Machine(4, "L4"), Measured(None, found)
    )
    assert taken.slot_s == Range(pytest.approx(100 * found.low), pytest.approx(200 * found.high))


def test_names_of_devices() -> None:
    assert same_device("NVIDIA L4", "L4")
    assert not same_device("NVIDIA L40S", "L4")
    assert same_device("NVIDIA A100-SXM4-80GB", "A100")
    assert same_device("cpu", "")
    assert not same_device("NVIDIA L4", "")
    assert not same_device("cpu", "L4")


@pytest.mark.heavy
def test_an_estimate_knows_the_faces_once_they_were_looked_for(tmp_path: Path) -> None:
    source = tmp_path / "source.png"
    iio.imwrite(source, astronaut())
    film = carphone_clip(tmp_path, frames=FRAMES)
    encode = EncodeSpec("h264", 30, "ultrafast")
    spec = JobSpec(
        str(film), str(tmp_path / "out.mp4"), SourceSpec(str(source)), encode=encode, segment_s=Fraction(1, 5)
    )
    run, settings = RunOptions(local=True, device="cpu", keep=True), Settings(cores=2, model_cache=model_cache())

    def stop() -> None:
        raise InputError("stopped")

    before = estimate_job(spec, run, settings, UNDISTURBED).work
    assert (before.analyse_frames, before.render_frames) == (FRAMES, FRAMES)
    assert before.faces == Range(0, FRAMES)
    assert "nobody has looked" in before.rests_on[0]
    with pytest.raises(InputError, match="stopped"):
        run_job(spec, run, settings, At("render", stop))
    known = estimate_job(spec, run, settings, UNDISTURBED).work
    assert (known.analyse_segments, known.render_frames + 0) == (0, FRAMES)
    assert known.faces.low == known.faces.high > 0
    assert run_job(spec, run, settings, UNDISTURBED).faces == known.faces.high
    done = estimate_job(spec, run, settings, UNDISTURBED)
    assert (done.work.render_segments, done.here[0].slot_s) == (0, Range(0, 0))
