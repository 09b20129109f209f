"""`farm models convert` on twins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from farm.cli.main import main
from tests.faces_assets import carphone


@pytest.fixture
def cache(tmp_path: Path, twins: Path) -> Path:
    for path in twins.iterdir():
        if path.is_file():
            (tmp_path / path.name).symlink_to(path)
    return tmp_path


def convert(cache: Path, *arguments: str) -> int:
    return main(["models", "convert", *arguments, "--cache", str(cache)])


def test_both_batches_are_made_and_their_parity_is_a_table(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(cache, "inswapper_128") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "inswapper_128: batch any, fp32, 2 faces against the published file one by one"
    assert [line for line in lines if line.startswith("within the tolerance")] == [lines[3], lines[8]]
    files = [Path(line) for line in lines if line.endswith(".onnx")]
    assert all(file.is_file() for file in files)
    assert len(files) == 2
    assert err.splitlines()[-1] == "farm: inswapper_128: prepared batches of 4 in fp32"
    record = json.loads(files[1].with_name(files[1].name.replace(".onnx", ".json")).read_bytes())
    assert record["parity"]["outputs"][0]["max_error"] < 1e-5


def test_half_floats_as_json(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(cache, "w600k_r50", "--fp16", "--batch", "4", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    (one,) = told["variants"]
    assert (told["id"], one["batch"], one["precision"], one["parity"]["passed"]) == ("w600k_r50", 4, "fp16", True)


def test_int8_on_a_film_s_faces(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(cache, "w600k_r50", "--int8", "--calibrate", str(carphone()), "--batch", "dynamic") == 0
    assert "calibration inputs from" in capsys.readouterr().err
    assert convert(cache, "det_10g", "--int8", "--calibrate", str(carphone()), "--batch", "1") == 2
    out, err = capsys.readouterr()
    assert "outside the tolerance (at least 30 dB)" in out
    assert err.splitlines()[-1].endswith("fp32 stays in use")
    assert not list((cache / "prepared").glob("det_10g-*-b1-int8-*.onnx"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("inswapper_128", "--fp16", "--int8"), "--fp16 and --int8 exclude each other"),
        (("inswapper_128", "--int8"), "--int8 and --calibrate VIDEO go together"),
        (("centerface",), "model centerface is used as it is"),
        (("nobody",), "no model called 'nobody'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    arguments: tuple[str, ...], message: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(cache, *arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
