"""Laws 1 and 2 of the cast, with real faces: the same frames however the work is split, and no work done twice.

Output is FFV1: the frames of the film are those that were handed to the encoder, to the bit.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from core.media.compare import frame_hashes
from core.media.index import index_film
from core.records import JobReport
from tests.system.runs import farm, farm_here, finish, finished_segments, start, wait_for
from tests.system.test_resume import renderers
from tests.two_people import ALONE, FRAMES, GOP, CastFile, make_two_people, sources

GOPS = FRAMES // GOP
SECONDS = Fraction(FRAMES, 25)
SPLITS = {1: "100", 2: str(float(SECONDS / 2)), 7: str(float(SECONDS / 7)), GOPS: "0"}
QUICK = ("--codec", "ffv1", "--json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("laws")
    sources(made)
    make_two_people(made / "film.mkv")
    return made


@pytest.fixture(autouse=True)
def models(twins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_MODEL_CACHE", str(twins))


@pytest.fixture(scope="module")
def cast(folder: Path, twins: Path, tmp_path_factory: pytest.TempPathFactory) -> CastFile:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FARM_MODEL_CACHE", str(twins))
        done = farm_here("analyse", folder / "film.mkv", "-o", folder / "film.cast", "--local")
    assert done.code == 0, done.err
    return CastFile(folder / "film.mkv", folder / "film.cast", tmp_path_factory.mktemp("scratch"))


def hashes(film: Path) -> list[str]:
    return frame_hashes(film, index_film(film))


HERS = 'source = "../man.png"\nswapper = "inswapper_128"\nenhancer = "gpen_256"\npaste = "poisson"'
HIS = 'source = "../astronaut.png"'


@pytest.mark.heavy
def test_law_1_the_analysis_and_the_mesh_however_the_film_is_cut(folder: Path, tmp_path: Path) -> None:
    """Everybody gets one face; faces are looked for, followed and replaced anew for each way to cut the film."""
    film = folder / "film.mkv"
    command = ("render", film, "--source", folder / "mirrored.png", "--select", "all", "--local", *QUICK)
    found = {}
    for segments, seconds in SPLITS.items():
        output = tmp_path / f"{segments}.mkv"
        report = farm_here(*command, "--segment-seconds", seconds, "-o", output).report
        assert (report.segments, report.frames) == (segments, FRAMES)
        found[segments] = (hashes(output), report.faces, report.frames_replaced, report.faces_skipped)
    assert all(one == found[1] for one in found.values())
    assert found[1][2] == FRAMES
    original = hashes(film)
    assert all(old != new for old, new in zip(original, found[1][0], strict=True))


def told(report: JobReport, output: Path) -> tuple[list[str], int, int, list[int]]:
    """What may not depend on the split: frames, faces and frames replaced, faces by role."""
    return hashes(output), report.faces, report.frames_replaced, [role.faces for role in report.roles]


@pytest.fixture(scope="module")
def undisturbed(folder: Path, cast: CastFile, twins: Path) -> tuple[list[str], int, int, list[int]]:
    """Mesh, network and enhancer in one frame: the film rendered in one piece."""
    output = folder / "whole.mkv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FARM_MODEL_CACHE", str(twins))
        command = ("render", folder / "film.mkv", "--cast", cast.write(HERS, HIS), "--local", *QUICK)
        report = farm_here(*command, "--segment-seconds", SPLITS[1], "-o", output).report
    assert report.segments == 1
    found = told(report, output)
    assert found[1:] == (2 * FRAMES - len(ALONE), FRAMES, [FRAMES - len(ALONE), FRAMES])
    return found


@pytest.mark.parametrize(
    "segments",
    [
        pytest.param(2, marks=pytest.mark.heavy),
        pytest.param(7, marks=pytest.mark.heavy),
        pytest.param(GOPS, marks=pytest.mark.heavy),
    ],
)
def test_law_1_two_people_however_the_film_is_cut(
    segments: int, undisturbed: tuple[list[str], int, int, list[int]], folder: Path, cast: CastFile, tmp_path: Path
) -> None:
    output = tmp_path / "out.mkv"
    command = ("render", folder / "film.mkv", "--cast", cast.write(HERS, HIS), "--local", *QUICK)
    report = farm_here(*command, "--segment-seconds", SPLITS[segments], "-o", output).report
    assert report.segments == segments
    assert told(report, output) == undisturbed


@pytest.mark.heavy
def test_law_1_three_renderers_one_of_which_is_killed(
    undisturbed: tuple[list[str], int, int, list[int]], folder: Path, cast: CastFile, tmp_path: Path
) -> None:
    output = tmp_path / "out.mkv"
    command = ("render", folder / "film.mkv", "--cast", cast.write(HERS, HIS), "--workers", "3", *QUICK)
    running = start(*command, "--segment-seconds", "0", "-o", output)
    wait_for(lambda: len(finished_segments(tmp_path / "out.mkv.farm")) >= 1, running)
    renderers(running.pid)[0].kill()
    report = finish(running).report
    assert (report.workers, report.workers_lost, report.segments) == (3, 1, GOPS)
    assert told(report, output) == undisturbed


@pytest.mark.heavy
def test_law_1_one_renderer(
    undisturbed: tuple[list[str], int, int, list[int]], folder: Path, cast: CastFile, tmp_path: Path
) -> None:
    output = tmp_path / "out.mkv"
    command = ("render", folder / "film.mkv", "--cast", cast.write(HERS, HIS), "--workers", "1", *QUICK)
    report = farm(*command, "--segment-seconds", SPLITS[7], "-o", output).report
    assert (report.workers, report.segments) == (1, 7)
    assert told(report, output) == undisturbed


@pytest.mark.heavy
def test_law_2_what_changed_is_done_again_and_nothing_else(folder: Path, cast: CastFile, tmp_path: Path) -> None:
    """14 segments of two frames; the astronaut is in 12 of them, the man in all."""
    film = folder / "film.mkv"
    kept = ("--local", "--segment-seconds", "0", "--store", tmp_path / "store", "--keep", *QUICK)

    def rendered(hers: str, his: str) -> tuple[int, int]:
        command = ("render", film, "--cast", cast.write(hers, his), *kept)
        report = farm_here(*command, "-o", tmp_path / "out.mkv").report
        assert report.segments == GOPS
        assert report.segments_analysed == 0
        assert report.segments_reused == GOPS - report.segments_rendered
        return report.segments_rendered, report.faces

    without_her = len(ALONE) // GOP
    assert rendered("", HIS) == (GOPS, FRAMES)
    assert rendered("", HIS) == (0, FRAMES)
    plain = 'source = "../man.png"'
    assert rendered(plain, HIS) == (GOPS - without_her, 2 * FRAMES - len(ALONE))
    assert rendered('source = "../mirrored.png"', HIS)[0] == GOPS - without_her
    assert rendered(plain, HIS)[0] == 0, "what was made before is found again"
    assert rendered(plain + '\ncolour = "light"', HIS)[0] == GOPS - without_her
    # in a part of the film: two whole segments, one, the last frame of one and the first of the next
    for begin, end, touched in ((4, 8, 2), (16, 18, 1), (5, 7, 2)):
        part = f"[[people.ranges]]\nfrom = {begin / 25}\nto = {end / 25}\n"
        assert rendered(f'{plain}\n{part}colour = "mean"', HIS) == (touched, 2 * FRAMES - len(ALONE))
    part = "[[people.ranges]]\nfrom = 0.16\nto = 0.32\nskip = true"
    assert rendered(f"{plain}\n{part}", HIS) == (0, 2 * FRAMES - len(ALONE) - 4), "as when she had no source"
    # exchanged: hers and his where both are seen, his where he is alone
    assert rendered(HIS, 'source = "../man.png"')[0] == GOPS


@pytest.mark.heavy
def test_law_2_another_source_does_not_repeat_the_analysis(folder: Path, tmp_path: Path) -> None:
    film, store = folder / "film.mkv", tmp_path / "store"
    command = ("render", film, "--local", "--segment-seconds", "0", "--store", store, "--keep", *QUICK)
    analysed, rendered = [], []
    for number, (source, select) in enumerate((("man", "largest"), ("mirrored", "largest"), ("mirrored", "all"))):
        wish = ("--source", folder / f"{source}.png", "--select", select, "-o", tmp_path / f"{number}.mkv")
        report = farm_here(*command, *wish).report
        analysed.append(report.segments_analysed)
        rendered.append(report.segments_rendered)
    assert analysed[0] > 0
    assert analysed[1:] == [0, 0]
    assert rendered == [GOPS, GOPS, GOPS - len(ALONE) // GOP], "where the man is alone the cast is the same"
