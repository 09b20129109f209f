"""Two films compared: known changes give the numbers that they must."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.faces.analyse import FaceModels
from core.faces.quality import Lookers, Measured, Sampling
from core.media.index import index_film
from core.records import PersonQuality, QualityReport
from farm.quality.films import Side, compare_films
from tests.core.faces.two_films import Seen, changed, seen
from tests.faces_assets import carphone_clip
from tests.media_clips import ffmpeg

FRAMES = 10
Compare = Callable[..., tuple[QualityReport, Measured]]
GREY = 255 / 219  # RGB levels of a step of limited-range luma


@pytest.fixture(scope="session")
def film(models: FaceModels, clips: Path) -> Seen:
    return seen(carphone_clip(clips, frames=FRAMES), models, clips)


@pytest.fixture(scope="session")
def compare(film: Seen, models: FaceModels) -> Compare:
    def against(path: Path, sampling: Sampling | None = None) -> tuple[QualityReport, Measured]:
        lookers = Lookers(models.mesher, models.embedder)
        made = Side(path, index_film(path))
        return compare_films(Side(film.path, film.index), made, film.cast(), lookers, sampling)

    return against


def person(report: QualityReport) -> PersonQuality:
    assert len(report.people) == 1
    return report.people[0]


def greatest(one: PersonQuality, name: str) -> float:
    spread = getattr(one, name)
    assert spread is not None
    return float(spread.worst)


def test_a_film_does_not_differ_from_itself(film: Seen, compare: Compare) -> None:
    report, measured = compare(film.path)
    one = person(report)
    for name in (
        "yaw_deg",
        "pitch_deg",
        "roll_deg",
        "shift",
        "growth",
        "residual",
        "mouth",
        "eyes",
        "change",
        "to_original",
    ):
        assert greatest(one, name) == 0, name
    assert (one.original_similarity, one.flicker, one.expression) == (1, 1, 0)
    assert (one.present, one.replaced, one.wanted, one.coverage) == (FRAMES, 0, None, 0)
    assert one.to_source is None
    assert (report.outside.psnr_db, report.outside.most, report.outside.frames_identical) == (None, 0, FRAMES)
    assert report.moments == ()
    assert set(measured.portraits) == {one.id}


def test_a_brighter_film_differs_by_its_brightness(film: Seen, compare: Compare) -> None:
    """Ten steps of luma everywhere: two thirds of the samples of 4:2:0; no other face, and nobody moved."""
    report, _ = compare(changed(film.path, "brighter", "lutyuv=y=val+10"))
    one, outside = person(report), report.outside
    assert outside.most == 10
    assert outside.mean == pytest.approx(10 * 2 / 3, rel=0.01)
    assert outside.psnr_db == pytest.approx(10 * np.log10(255**2 / (100 * 2 / 3)), abs=0.05)
    assert one.replaced == 0
    assert greatest(one, "change") < 0.5
    assert one.flicker == pytest.approx(1, abs=0.02)
    for name in ("yaw_deg", "pitch_deg", "roll_deg"):
        assert greatest(one, name) < 1.5
    assert greatest(one, "to_original") < 0.15


def test_a_shifted_film_is_shifted(film: Seen, compare: Compare) -> None:
    report, _ = compare(changed(film.path, "shifted", "crop=iw-6:ih-4:0:0,pad=iw+6:ih+4:6:4"))
    one = person(report)
    eyes_px = one.series.size_px.mean() * 0.6  # about
    assert one.shift is not None
    assert one.shift.mean * eyes_px == pytest.approx(np.hypot(6, 4), rel=0.15)
    for name in ("yaw_deg", "pitch_deg", "roll_deg"):
        assert getattr(one, name).mean < 2
    assert one.growth is not None
    assert one.growth.mean < 0.02


def test_a_tilted_film_is_tilted(film: Seen, compare: Compare) -> None:
    report, _ = compare(changed(film.path, "tilted", "rotate=6*PI/180"))
    one = person(report)
    assert one.series.roll_deg == pytest.approx(np.full(FRAMES, 6.0), abs=1.0)
    assert one.yaw_deg is not None
    assert one.yaw_deg.mean < 2.5


def test_a_larger_face_has_grown(film: Seen, compare: Compare) -> None:
    report, _ = compare(changed(film.path, "larger", "scale=iw*1.1:ih*1.1,crop=448:368"))
    assert person(report).series.growth == pytest.approx(np.full(FRAMES, 0.1), abs=0.025)


def test_a_face_that_blinks_in_brightness_flickers(clips: Path, models: FaceModels) -> None:
    """A picture that stands still, whose face is eight steps brighter in every other frame."""
    still = clips / "still.mkv"
    clip = carphone_clip(clips, frames=FRAMES)
    ffmpeg("-i", clip, "-vf", "loop=6:1:0,trim=end_frame=6", "-an", "-c:v", "ffv1", "-g", "1", still)
    blinking = changed(still, "blinking", "geq=lum='lum(X,Y)+8*mod(N,2)':cb='cb(X,Y)':cr='cr(X,Y)'")
    calm = seen(still, models, clips)
    made = Side(blinking, index_film(blinking))
    lookers = Lookers(models.mesher, models.embedder)
    report, _ = compare_films(Side(still, calm.index), made, calm.cast(), lookers)
    one = person(report)
    assert one.flicker is None  # the original does not move at all
    assert np.isnan(one.series.moved_output[0])
    assert one.series.moved_original[1:] == pytest.approx(np.zeros(5))
    assert one.series.moved_output[1:] == pytest.approx(np.full(5, 8 * GREY), abs=0.6)


def test_sampling_measures_what_it_says(film: Seen, compare: Compare) -> None:
    every, _ = compare(film.path)
    third, _ = compare(film.path, Sampling(every=3, vector_every=2))
    one, other = person(every).series, person(third).series
    assert other.frame.tolist() == [0, 3, 6, 9]
    assert np.flatnonzero(np.isfinite(other.to_original)).tolist() == [0, 2]
    assert np.array_equal(other.moved_original[1:], one.moved_original[other.frame[1:]])
    assert third.outside.samples == every.outside.samples


def test_an_encoders_loss_is_no_replacement(film: Seen, compare: Compare) -> None:
    worn = film.path.with_name("worn.mkv")
    ffmpeg("-i", film.path, "-an", "-c:v", "libx264", "-crf", "38", worn)
    report, _ = compare(worn)
    one = person(report)
    assert one.replaced == 0
    assert report.outside.psnr_db is not None
    assert 25 < report.outside.psnr_db < 42
    assert greatest(one, "to_original") < report.same_person
