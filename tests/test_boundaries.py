"""The borders of the house, held by reading the imports: farm -> actors -> core, and the named adapters of core."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOUSES = ("core", "actors", "farm")

# package -> what nothing in it may import
FORBIDDEN = {
    "core": {"ray", "farm", "actors", "fastapi", "starlette", "sqlalchemy", "typer", "rich", "boto3", "requests"},
    "actors": {"farm", "fastapi", "sqlalchemy", "typer"},
    "farm": set[str](),
}
# library -> the only folders or files that may import it
ADAPTERS = {
    "av": ("core/media/", "farm/bench/", "farm/demo/", "farm/doctor.py"),
    "onnxruntime": ("core/inference/", "farm/doctor.py"),
    "onnx": ("core/inference/",),
    "ray": ("actors/", "farm/"),
    "pyarrow": ("core/faces/table.py", "core/faces/shots.py"),
}
MAX_LINES = 400


def modules(house: str) -> list[Path]:
    return sorted((ROOT / house).rglob("*.py"))


@cache
def imports(path: Path) -> frozenset[str]:
    """Every absolute module name that `path` imports, at any depth of the code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
    return frozenset(found)


@pytest.mark.parametrize("house", HOUSES)
def test_arrows_go_one_way(house: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(house)
        for name in sorted(imports(path))
        if name.split(".")[0] in FORBIDDEN[house]
    ]
    assert not wrong, wrong


@pytest.mark.parametrize("library", sorted(ADAPTERS))
def test_only_named_adapters_touch_a_library(library: str) -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for house in HOUSES
        for path in modules(house)
        if library in {name.split(".")[0] for name in imports(path)}
        and not str(path.relative_to(ROOT)).startswith(ADAPTERS[library])
    ]
    assert not wrong, f"{library} is imported outside {ADAPTERS[library]}: {wrong}"


def test_core_reads_no_environment_and_keeps_no_global_state() -> None:
    wrong = []
    for path in modules("core"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Global):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} global")
            if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "putenv"}:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.attr}")
    assert not wrong, wrong


@pytest.mark.parametrize("house", HOUSES)
def test_files_stay_small(house: str) -> None:
    long = {str(p.relative_to(ROOT)): n for p in modules(house) if (n := len(p.read_text().splitlines())) > MAX_LINES}
    assert not long, long


def test_every_package_is_listed_in_pyproject() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {".".join(p.parent.relative_to(ROOT).parts) for house in HOUSES for p in modules(house)}
    assert found == listed


def test_the_lock_names_no_index() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "--hash=sha256:" in lock
    assert not [word for word in ("http://", "https://", "--index", "--find-links", "file:") if word in lock]


def test_render_py_is_thin() -> None:
    assert len((ROOT / "render.py").read_text().splitlines()) < 40
