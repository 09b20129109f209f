"""The analysis of a film: orders that depend on film and looking alone, and a folder that keeps it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from actors.drive import Order
from actors.local import LocalPool
from actors.worker import Worker, WorkerSettings
from core import codec
from core.errors import InputError, ModelError, PlanError, StorageError
from core.faces.shots import find_cuts, read_scores
from core.faces.table import read_table
from core.records import Analysis, AnalysisReceipt, FaceTable, JobSpec
from farm import stages
from farm.analysis import (
    Looking,
    analyse_map,
    analysis_of,
    analysis_orders,
    files_of,
    folder_store,
    load_analysis,
    looking_models,
    save_analysis,
)
from farm.artifacts import DiskStore
from farm.models import ModelHashes
from tests.faces_assets import model_cache, slow_carphone
from tests.farm.test_stages import Listener

CODE = "code"
SECONDS = 15


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slow_carphone(tmp_path_factory.mktemp("film") / "film.mp4", seconds=SECONDS)


@pytest.fixture(scope="module")
def models() -> ModelHashes:
    return looking_models(Looking(), model_cache())


class Kept:
    """A folder with the analysis of the film, and the orders that were done for it, run by run."""

    def __init__(self, folder: Path, target: Path, models: ModelHashes) -> None:
        self.folder, self.store, self.models = folder, folder_store(folder), models
        self.film = stages.index_stage(self.store, target, code=CODE)
        self.done: list[list[str]] = []

    def make(self, looking: Looking | None = None, segment_s: Fraction = Fraction(5)) -> Analysis:
        pool = LocalPool(WorkerSettings(str(model_cache()), 2, 1), parallel=2)

        def run_map(name: str, orders: Sequence[Order]) -> stages.Mapped:
            assert name == "analyse"
            todo = stages.open_work(self.store, orders, stop_on_damage=True)
            self.done.append([order.id for order in todo.open])
            return stages.run_map(pool, Listener(), self.film, todo, store=self.store)

        try:
            look = looking or Looking()
            return analyse_map(self.film, look, self.models, run_map, code=CODE, segment_s=segment_s)[0]
        finally:
            pool.close()

    def faces(self, analysis: Analysis) -> FaceTable:
        return FaceTable.concat([read_table(self.store.path(receipt.file)) for receipt in analysis.receipts])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, target: Path, models: ModelHashes) -> Kept:
    return Kept(tmp_path_factory.mktemp("kept") / "film.cast", target, models)


@pytest.fixture
def kept(whole: Kept, tmp_path: Path) -> tuple[Path, Analysis]:
    """A copy of the folder with a saved analysis, for tests that spoil it."""
    analysis = whole.make()
    save_analysis(whole.folder, analysis)
    shutil.copytree(whole.folder, tmp_path / "copy.cast")
    return tmp_path / "copy.cast", analysis


def test_a_film_is_looked_at_once_for_every_way_of_looking(whole: Kept) -> None:
    first = whole.make()
    again = whole.make()
    assert again == first
    assert whole.done[-1] == []
    assert [receipt.faces for receipt in first.receipts] == [24, 24, 12]
    assert [receipt.frames_with_faces for receipt in first.receipts] == [24, 24, 12]
    assert [(segment.first, segment.end) for segment in first.segments] == [(0, 24), (24, 48), (48, 60)]
    rarely = whole.make(Looking(detect_every=3))
    assert len(whole.done[-1]) == 3
    np.testing.assert_array_equal(whole.faces(rarely).frame, np.arange(0, 60, 3))
    assert whole.make(Looking(detect_every=3)) == rarely
    assert whole.make() == first
    assert whole.done[-2:] == [[], []]


@pytest.mark.heavy
def test_how_the_film_is_cut_changes_no_face_and_no_shot(whole: Kept) -> None:
    """The tables differ in where they begin; what they say of each frame does not."""
    analyses = [whole.make(segment_s=Fraction(seconds)) for seconds in (5, 0, 100)]
    assert [len(analysis.segments) for analysis in analyses] == [3, 5, 1]
    tables = [whole.faces(analysis) for analysis in analyses]
    for other in tables[1:]:
        for name in FaceTable.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(other, name), getattr(tables[0], name))
    cuts = [
        find_cuts(whole.film.index, (read_scores(whole.store.path(receipt.shots)) for receipt in analysis.receipts))
        for analysis in analyses
    ]
    assert [found.tolist() for found in cuts] == [[], [], []]


def test_an_order_is_named_by_film_looking_models_and_code(whole: Kept, models: ModelHashes) -> None:
    film, looking = whole.film, Looking()

    def ids(look: Looking = looking, used: ModelHashes = models, code: str = CODE) -> list[str]:
        segments = whole.make().segments
        return [order.id for order in analysis_orders(film, segments, look, used, code=code)]

    plain = ids()
    assert len(set(plain)) == 3
    others = (
        ids(replace(looking, detect_every=2)),
        ids(used=(("centerface", "0" * 64), *models[1:])),
        ids(used=(*models[:2], ("w600k_mbf", "0" * 64))),
        ids(code="other"),
    )
    assert len({*plain, *(name for other in others for name in other)}) == 15
    elsewhere = replace(film, path=film.path.with_name("elsewhere.mp4"))
    moved = analysis_orders(elsewhere, whole.make().segments, looking, models, code=CODE)
    assert [order.id for order in moved] == plain
    assert {(order.recogniser, order.detect_every) for order in moved} == {("dlib_resnet", 1)}


def test_looking_is_part_of_a_job() -> None:
    spec = JobSpec("film.mp4", "out.mp4", detector="det_10g", recogniser="w600k_r50", detect_every=4)
    assert Looking.of(spec) == Looking("det_10g", "w600k_r50", 4)
    for wrong in (0, -1, 31):
        with pytest.raises(InputError, match=f"in every {wrong}th frame; give --detect-every 1 to 30"):
            Looking(detect_every=wrong)


def test_models_that_are_not_there_are_named(tmp_path: Path, models: ModelHashes) -> None:
    assert [name for name, _ in models] == ["centerface", "face_landmark", "dlib_resnet"]
    with pytest.raises(ModelError, match=r"no detector called 'dlib_resnet'; one of: .*centerface"):
        looking_models(Looking(detector="dlib_resnet"), model_cache())
    with pytest.raises(ModelError, match=r"no embedder called 'nobody'; one of: .*dlib_resnet"):
        looking_models(Looking(recogniser="nobody"), model_cache())
    with pytest.raises(ModelError):
        looking_models(Looking(), tmp_path)


def test_an_analysis_is_found_again_whole(kept: tuple[Path, Analysis], whole: Kept) -> None:
    folder, analysis = kept
    assert load_analysis(folder, whole.film.index.sha256) == analysis
    before = (folder / "analysis.json").stat()
    save_analysis(folder, analysis)
    assert (folder / "analysis.json").stat() == before, "it was written again"
    names = {name for name, _ in files_of(analysis)}
    assert len(names) == 6
    assert all(folder_store(folder).exists(name) for name in names)


@pytest.mark.parametrize("which", [0, 1, 4, 5])
def test_a_part_that_is_gone_or_altered_is_named_and_made_again(
    kept: tuple[Path, Analysis], whole: Kept, which: int
) -> None:
    folder, analysis = kept
    sha256 = whole.film.index.sha256
    name = list(files_of(analysis))[which][0]
    path = folder_store(folder).path(name)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(StorageError, match="missing or altered; run farm analyse again") as caught:
        load_analysis(folder, sha256)
    assert str(path) in str(caught.value)
    path.unlink()
    with pytest.raises(StorageError, match="missing or altered"):
        load_analysis(folder, sha256)
    mended = Kept(folder, whole.film.path, whole.models)
    again = mended.make()
    assert len(mended.done[0]) == 1
    assert [receipt.sha256 for receipt in again.receipts] == [receipt.sha256 for receipt in analysis.receipts]
    save_analysis(folder, again)
    assert load_analysis(folder, sha256) == again


def test_a_renderer_takes_back_a_record_without_its_shots(kept: tuple[Path, Analysis], whole: Kept) -> None:
    folder, analysis = kept
    store = folder_store(folder)
    worker = Worker(WorkerSettings(str(model_cache()), 2, 1))
    order = analysis_orders(whole.film, analysis.segments[2:], Looking(), whole.models, code=CODE)[0]
    known = worker.work(order, 7, lambda _: None, store)
    assert known == analysis.receipts[2]
    store.path(analysis.receipts[2].shots).unlink()
    made = worker.work(order, 7, lambda _: None, store)
    assert isinstance(made, AnalysisReceipt)
    assert (made.attempt, made.sha256, made.shots_sha256) == (7, known.sha256, analysis.receipts[2].shots_sha256)
    assert store.receipt(AnalysisReceipt, "analysis", order.id) == made


def test_another_film_and_no_analysis_at_all_are_told_apart(kept: tuple[Path, Analysis], tmp_path: Path) -> None:
    folder, analysis = kept
    with pytest.raises(InputError, match=r"copy\.cast/analysis\.json: the analysis is of another film"):
        load_analysis(folder, "0" * 64)
    for empty in (tmp_path, tmp_path / "absent", folder / "analysis.json"):
        with pytest.raises(InputError, match="no analysis in this folder"):
            load_analysis(empty, analysis.film_sha256)
    short = codec.encode(replace(analysis, receipts=analysis.receipts[1:]))
    for torn in (b"", b"[]", codec.encode(analysis)[:-1], short):
        (folder / "analysis.json").write_bytes(torn)
        with pytest.raises(StorageError, match="run farm analyse again"):
            load_analysis(folder, analysis.film_sha256)


def test_loading_writes_nothing(kept: tuple[Path, Analysis]) -> None:
    folder, analysis = kept

    def names() -> list[tuple[str, int]]:
        return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))

    before = names()
    load_analysis(folder, analysis.film_sha256)
    assert names() == before


def test_an_analysis_with_holes_is_none(whole: Kept, tmp_path: Path) -> None:
    analysis = whole.make()
    with pytest.raises(PlanError, match="does not cover the film"):
        analysis_of(whole.film, analysis.segments, Looking(), analysis.receipts[:-1])
    assert DiskStore(str(tmp_path)).holds_work() is False
