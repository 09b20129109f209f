"""`farm models convert` on twins."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from core.inference.batches import loaded_batches
from core.inference.manifest import load_manifests, manifest_folder
from core.inference.prepared import get_ready
from core.inference.weights import add, model_file
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


@pytest.mark.heavy
def test_half_floats_are_compared_on_a_film_s_faces(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = ("--calibrate", str(carphone()))
    assert convert(cache, "inswapper_128", "--fp16", *film, "--batch", "4") == 0
    assert capsys.readouterr().out.startswith("inswapper_128: batch 4, fp16, 12 faces (8 of a film) against")
    assert convert(cache, "blendswap_256", *film, "--json") == 0
    made = json.loads(capsys.readouterr().out)["variants"]
    assert [(one["precision"], one["parity"]["real"]) for one in made] == [("fp32", 8), ("fp32", 8)]
    assert convert(cache, "blendswap_256", "--fp16", *film, "--batch", "4") == 2
    out, err = capsys.readouterr()
    assert "outside the tolerance (at least 40 dB, nothing off by more than 1.56% of the range)" in out
    assert err.splitlines()[-1].endswith("fp32 stays in use")
    manifest = load_manifests(manifest_folder())["blendswap_256"]
    said: list[str] = []
    assert get_ready(manifest, cache, 4, "fp16", said.append).precision == "fp32"
    assert said[-1].endswith("; fp32 is used"), "a render does the same"


def test_int8_is_made_for_everything_that_a_render_loads(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a GPU the model would be loaded in batches of 4, or of 2 and 1 when memory is short."""
    assert convert(cache, "w600k_mbf", "--int8", "--calibrate", str(carphone()), "--json") == 0
    made = json.loads(capsys.readouterr().out)["variants"]
    assert [(one["batch"], one["parity"]["batch"], one["parity"]["passed"]) for one in made] == [
        (batch, batch, True) for batch in (None, 4, 2, 1)
    ]
    manifest = load_manifests(manifest_folder())["w600k_mbf"]
    for batch in (None, *loaded_batches(manifest)):
        ready = get_ready(manifest, cache, batch, "int8", pytest.fail)
        assert (ready.batch, ready.precision) == (batch, "int8")
        assert ready.parity is not None


@pytest.mark.heavy
def test_a_model_of_large_pictures_gets_its_own_batch(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifests = load_manifests(manifest_folder())
    assert loaded_batches(manifests["gpen_1024"]) == loaded_batches(manifests["gpen_2048"]) == (1,)
    assert convert(cache, "gpen_1024", "--json") == 0
    assert [one["batch"] for one in json.loads(capsys.readouterr().out)["variants"]] == [None, 1]


def test_int8_one_face_at_a_time_where_the_graph_takes_no_more(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recogniser whose graph takes the mean over its first axis: no batch of it equals single faces."""
    name = "w600k_mbf"
    manifest = load_manifests(manifest_folder())[name]
    graph = onnx.load(model_file(manifest, cache))
    last = next(node for node in graph.graph.node if graph.graph.output[0].name in node.output)
    last.output[0] = "before"
    for kind, made in (("ReduceMean", "of_all"), ("Add", graph.graph.output[0].name)):
        given = ["before"] if kind == "ReduceMean" else ["before", "of_all"]
        extra = {"axes": [0], "keepdims": 1} if kind == "ReduceMean" else {}
        graph.graph.node.append(onnx.helper.make_node(kind, given, [made], **extra))
    file = tmp_path / "mixing.onnx"
    file.write_bytes(graph.SerializeToString())
    add(manifest, file, cache, unlisted=True, accept_licence=True)
    assert convert(cache, name, "--int8", "--calibrate", str(carphone()), "--json") == 0
    out, err = capsys.readouterr()
    assert [one["batch"] for one in json.loads(out)["variants"]] == [1]
    assert err.splitlines()[-1].endswith("it is used one face at a time")
    said: list[str] = []
    assert get_ready(manifest, cache, 4, "int8", said.append).batch == 1
    assert said[-1].endswith("it is used one face at a time")


@pytest.mark.heavy
def test_int8_on_a_film_s_faces(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(cache, "w600k_r50", "--int8", "--calibrate", str(carphone()), "--batch", "dynamic") == 0
    assert "calibration inputs from" in capsys.readouterr().err
    assert convert(cache, "det_10g", "--int8", "--calibrate", str(carphone()), "--batch", "1") == 2
    out, err = capsys.readouterr()
    assert "outside the tolerance (at least 30 dB)" in out
    assert err.splitlines()[-1].endswith("fp32 stays in use")
    assert not list((cache / "prepared").glob("det_10g-*-b1-int8-*.onnx"))
    assert convert(cache, "crossface_ghost", "--int8", "--calibrate", str(carphone())) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("it has no convolution for INT8; use it in fp32")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("inswapper_128", "--fp16", "--int8"), "--fp16 and --int8 exclude each other"),
        (("inswapper_128", "--int8"), "--int8 needs --calibrate VIDEO"),
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
