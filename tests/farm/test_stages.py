"""Keys and resume: what is done again when something changes, and what is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from actors.drive import Happening, Order, Watch
from actors.local import LocalPool
from actors.worker import WorkerSettings
from core import codec
from core.errors import InputError
from core.records import Damage, EncodeSpec, JobSpec, Role, SegmentReceipt, SwapOptions
from farm import stages
from farm.artifacts import DiskStore
from farm.castings import SegmentCast
from farm.settings import load_settings
from farm.sources import keep_identity
from farm.versions import code_hash
from tests.actors.films import Job, make_film, make_job
from tests.frames import NOBODY

CODE = "code"


class Listener:
    """Progress that remembers which orders were open."""

    def __init__(self) -> None:
        self.open: list[str] = []

    def stage(self, name: str) -> None:
        assert name
        self.open.clear()

    def watch(self, orders: Sequence[Order], open_orders: Sequence[Order]) -> Watch:
        assert len(open_orders) <= len(orders)
        self.open += [order.id for order in open_orders]

        def hear(happening: Happening, at_s: float) -> None:
            assert at_s > 0, happening

        return hear

    def note(self, text: str) -> None:
        assert text

    def close(self) -> None:
        self.open.clear()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", seconds=4)


@pytest.fixture
def job(tmp_path: Path, target: Path) -> Job:
    return make_job(DiskStore(str(tmp_path / "store")), target)


@pytest.fixture
def pool(job: Job) -> Iterator[LocalPool]:
    made = LocalPool(WorkerSettings("unused", 2, 1), parallel=2)
    yield made
    made.close()


def ids(job: Job, spec: JobSpec, roles: Sequence[Role] = (), **cast: SegmentCast) -> list[str]:
    entries = [SegmentCast(segment.index) for segment in job.plan.segments]
    for place, entry in cast.items():
        entries[int(place[1:])] = entry
    plan = stages.plan_stage(job.store, job.film, spec)
    return [order.id for order in stages.work_orders(job.film, plan, entries, roles, code=CODE)]


def test_an_order_changes_with_what_decides_its_pixels_and_with_nothing_else(job: Job) -> None:
    spec = JobSpec("film.mp4", "out.mp4", swapper="mesh", encode=EncodeSpec("h264", 30), segment_s=Fraction(1))
    plain = ids(job, spec)
    assert len(set(plain)) == len(plain) == 4
    assert ids(job, replace(spec, on_damage="keep", target="elsewhere/film.mp4", output="other.mp4")) == plain
    assert set(ids(job, replace(spec, encode=EncodeSpec("h264", 31)))).isdisjoint(plain)
    role = Role("identity/a.json", "a", "mesh")
    one = SegmentCast(2, 5, "cast/f.parquet", "f", (0,))
    faces = ids(job, spec, [role], s2=one)
    assert [a == b for a, b in zip(faces, plain, strict=True)] == [True, True, False, True]
    other = ids(job, spec, [role], s2=replace(one, file="cast/g.parquet", sha256="g"))
    assert other[2] not in (faces[2], plain[2])
    for change in (
        {"options": SwapOptions(strength=0.5)},
        {"models": (("mesh", "01"),)},
        {"identity": "identity/b.json", "identity_sha256": "b"},
        {"swapper": "inswapper_128"},
    ):
        changed = ids(job, spec, [replace(role, **change)], s2=one)
        assert [a == b for a, b in zip(changed, faces, strict=True)] == [True, True, False, True], change
    same = ids(job, replace(spec, swapper="none")), ids(job, replace(spec, smart=False))
    assert same[0] == same[1], "nobody to replace: the same work, whatever the swapper"
    assert set(same[1]).isdisjoint(plain), "beside copies the encoder's parameter sets have ids of their own"


def test_copies_are_other_work(job: Job) -> None:
    spec = JobSpec("film.mp4", "out.mp4", swapper="mesh", encode=EncodeSpec("h264", 30), segment_s=Fraction(1))
    plan = stages.plan_stage(job.store, job.film, spec)
    entries = [SegmentCast(segment.index) for segment in job.plan.segments]
    without, with_one = (
        stages.work_orders(job.film, plan, entries, (), code=CODE, copies=copies) for copies in ((), (1,))
    )
    assert [order.copy for order in with_one] == [False, True, False, False]
    assert [a.id == b.id for a, b in zip(without, with_one, strict=True)] == [True, False, True, True]


def test_an_order_has_the_roles_of_its_own_faces_alone(job: Job) -> None:
    """A role that comes, goes or changes leaves segments without it as they are, whatever its number in the job."""
    spec = JobSpec("film.mp4", "out.mp4", swapper="mesh", encode=EncodeSpec("h264", 30), segment_s=Fraction(1))
    a, b, c = (Role(f"identity/{name}.json", name, "mesh") for name in "abc")
    first, both = (SegmentCast(n, 5, "cast/f.parquet", "f", roles) for n, roles in ((1, (0,)), (2, (0, 1))))
    was = ids(job, spec, [a, b], s1=first, s2=both)
    assert ids(job, spec, [b, c, a], s1=replace(first, roles=(2,)), s2=replace(both, roles=(2, 0))) == was
    changed = ids(job, spec, [a, c], s1=first, s2=both)
    assert [one == two for one, two in zip(was, changed, strict=True)] == [True, True, False, True]


def test_the_index_is_taken_from_the_store_until_the_file_changes(job: Job, target: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(target.read_bytes())
    first = stages.index_stage(job.store, copy, code=CODE)
    again = stages.index_stage(job.store, copy, code=CODE)
    assert again.name == first.name
    assert again.index.sha256 == first.index.sha256
    copy.write_bytes(make_film(tmp_path / "longer.mp4", seconds=5).read_bytes())
    changed = stages.index_stage(job.store, copy, code=CODE)
    assert changed.name != first.name
    assert changed.index.frames == 125


def test_only_what_is_open_is_done(job: Job, pool: LocalPool) -> None:
    listener = Listener()
    first = stages.run_map(
        pool, listener, job.film, stages.open_work(job.store, job.orders[:2], stop_on_damage=True), store=job.store
    )
    assert (first.reused, listener.open) == (0, [order.id for order in job.orders[:2]])
    listener.stage("render")
    second = stages.run_map(
        pool, listener, job.film, stages.open_work(job.store, job.orders, stop_on_damage=True), store=job.store
    )
    assert (second.reused, listener.open) == (2, [order.id for order in job.orders[2:]])
    assert second.receipts[:2] == first.receipts
    listener.stage("render")
    third = stages.run_map(
        pool, listener, job.film, stages.open_work(job.store, job.orders, stop_on_damage=True), store=job.store
    )
    assert (third.reused, listener.open) == (4, [])
    assert third.receipts == second.receipts


def test_known_damage_leaves_only_what_lies_before_it_open(job: Job, pool: LocalPool) -> None:
    listener = Listener()
    done = stages.run_map(
        pool, listener, job.film, stages.open_work(job.store, job.orders[2:3], stop_on_damage=True), store=job.store
    )
    receipt = done.receipts[0]
    assert isinstance(receipt, SegmentReceipt)
    damaged = replace(receipt, damage=(Damage(60, int(job.film.index.pts[60]), "torn"),))
    job.store.path(f"segments/{receipt.order_id}/DONE.json").unlink()
    job.store.write(f"segments/{receipt.order_id}/DONE.json", codec.encode(damaged))
    todo = stages.open_work(job.store, job.orders, stop_on_damage=True)
    assert [order.segment.index for order in todo.open] == [0, 1]
    with pytest.raises(InputError, match=r"frame 60 at 2\.400 s is damaged: torn; render what decodes"):
        stages.run_map(pool, listener, job.film, todo, store=job.store)
    kept = stages.open_work(job.store, job.orders, stop_on_damage=False)
    assert [order.segment.index for order in kept.open] == [3]
    assert len(stages.run_map(pool, listener, job.film, kept, store=job.store).receipts) == 4


def test_settings_come_from_the_given_environment_only() -> None:
    settings = load_settings({"FARM_MODEL_CACHE": "/models", "RAY_ADDRESS": "10.0.0.1:6379"})
    assert (settings.model_cache, settings.ray_address) == (Path("/models"), "10.0.0.1:6379")
    assert load_settings({"XDG_CACHE_HOME": "/c"}).model_cache == Path("/c/farm/models")
    assert load_settings({"HOME": "/h"}).ray_address is None
    assert load_settings({"HOME": "/h"}).engine_cache is None
    assert load_settings({"FARM_ENGINE_CACHE": "/e"}).engine_cache == "/e"
    assert load_settings({"HOME": "/h"}).gpu_mem_limit_bytes is None
    near = load_settings({"FARM_MODEL_CACHE": "models", "FARM_ENGINE_CACHE": "engines"})
    assert (near.model_cache, near.engine_cache) == (Path.cwd() / "models", str(Path.cwd() / "engines"))
    assert load_settings({"HOME": "/h", "FARM_ENGINE_CACHE": "s3://b/p"}).engine_cache == "s3://b/p"
    assert [replace(settings, cores=n).segment_threads for n in (1, 2, 4, 16, 64)] == [2, 2, 4, 8, 8]
    assert [replace(settings, cores=n).default_workers for n in (1, 2, 4, 16, 64)] == [1, 2, 2, 2, 8]


def test_the_code_hash_is_stable_here() -> None:
    assert code_hash() == code_hash()
    assert len(code_hash()) == 64


def test_an_index_that_cannot_be_read_or_is_of_other_code_is_made_again(job: Job, target: Path) -> None:
    first = stages.index_stage(job.store, target, code=CODE)
    whole = job.store.read(first.name)
    for torn in (whole[: len(whole) // 2], b"", whole.replace(b'"zlib":"', b'"zlib":"AAAA')):
        job.store.path(first.name).write_bytes(torn)
        again = stages.index_stage(job.store, target, code=CODE)
        assert codec.encode(again.index) == whole
        assert job.store.read(first.name) == whole
    assert stages.index_stage(job.store, target, code="another").name != first.name


def test_a_source_face_that_was_altered_is_put_back(job: Job) -> None:
    name, sha256 = keep_identity(job.store, NOBODY)
    assert job.store.intact(name, sha256)
    job.store.path(name).write_bytes(job.store.read(name)[:-9])
    assert keep_identity(job.store, NOBODY) == (name, sha256)
    assert job.store.intact(name, sha256)


def test_what_a_job_makes_is_claimed(job: Job, pool: LocalPool) -> None:
    """Another job in the same store leaves alone what this one needs to go on."""
    todo = stages.open_work(job.store, job.orders, stop_on_damage=True)
    stages.run_map(pool, Listener(), job.film, todo, store=job.store)
    keep_identity(job.store, NOBODY)
    before = sorted(Path(job.store.root).rglob("*"))
    DiskStore(job.store.root, "another").remove()
    assert sorted(Path(job.store.root).rglob("*")) == [path for path in before if path.name != "tmp"]
    assert len(stages.open_work(job.store, job.orders, stop_on_damage=True).found) == len(job.orders)
