"""docs/operations.md says what is so: options of commands, files, lines that are told, prices."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private.utils import check_version_info
from ray.scripts.scripts import cli as ray_cli

from farm.cli.main import make_app
from tests.deploy.amazon import ROOT

TEXT = (ROOT / "docs/operations.md").read_text()


def commands() -> list[str]:
    """The indented lines, continued ones joined."""
    joined = re.sub(r"\\\n\s*", " ", TEXT)
    return [line.strip() for line in joined.splitlines() if line.startswith("    ")]


def options(command: Any) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


def named(group: Any, words: list[str]) -> tuple[Any, list[str]]:
    """The command that the first words lead to, and the words after it."""
    while words and hasattr(group, "commands"):
        assert words[0] in group.commands, words
        group, words = group.commands[words[0]], words[1:]
    return group, words


def farm_words(line: str) -> list[str]:
    """What stands after `farm` in a line, or after `render.py --`, which means `farm render`; none in others."""
    words = shlex.split(line)
    if "render.py" in words:
        return ["render", *words[words.index("--") + 1 :]]
    if "farm" not in words or words[0] not in {"farm", "ray"}:
        return []
    return words[words.index("farm") + 1 :]


FARM = [line for line in commands() if farm_words(line)]
RAY = [line for line in commands() if line.startswith("ray ")]


@pytest.mark.parametrize("line", FARM)
def test_our_commands_have_the_options_that_are_written(line: str) -> None:
    import typer  # noqa: PLC0415

    command, words = named(typer.main.get_command(make_app()), farm_words(line))
    unknown = [word for word in words if word.startswith("-") and word.partition("=")[0] not in options(command)]
    assert not unknown


@pytest.mark.parametrize("line", RAY)
def test_rays_commands_have_the_options_that_are_written(line: str) -> None:
    words = shlex.split(line.rstrip("&"))[1:]
    if "--" in words:
        words = words[: words.index("--")]
    command, words = named(ray_cli, words)
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in options(command)]
    assert not unknown


def test_all_kinds_of_lines_are_looked_at() -> None:
    assert len(FARM) >= 8
    assert {"up", "down", "submit", "job", "dashboard", "exec", "monitor"} <= {line.split()[1] for line in RAY}


def test_files_and_headings_that_are_named_are_there() -> None:
    paths = set(re.findall(r"(?<![\w/])((?:deploy|docs|farm|tests)/[\w./*-]+[\w*]|cluster[\w-]*\.yaml)", TEXT))
    assert len(paths) > 10
    assert not [path for path in paths - {"farm/market"} if not list(ROOT.glob(path))]  # a label of nodes
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)
    assert links
    assert not [link for link in links if not (ROOT / "docs" / link).exists()]
    headings = {
        re.sub(r"[^\w -]", "", line.lower()).strip().replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    }
    assert not [anchor for anchor in re.findall(r"\]\(#([^)]+)\)", TEXT) if anchor not in headings]
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([\w-]+)`", TEXT):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def sources(root: Path, *folders: str) -> str:
    return "\n".join(path.read_text() for folder in folders for path in sorted((root / folder).rglob("*.py")))


def test_the_lines_of_the_table_are_told_by_somebody() -> None:
    """Ours by our sources; Ray's by Ray's; Amazon's codes are Amazon's."""
    table = TEXT.split("## When a line says no")[1].split("\n## ")[0]
    ours = sources(ROOT, "farm", "actors", "core")
    rays = sources(Path(ray.__file__).parent, "autoscaler")
    told = 0
    for row in re.findall(r"^\| (.+?) \|", table, re.MULTILINE)[2:]:
        if any(other in row for other in ("(AWS", "(your shell)", "ray monitor", "publickey")):
            continue
        for phrase in re.findall(r"`([^`]+)`", row):
            if phrase != "farm doctor":
                assert phrase in (rays if "(Ray)" in row else ours), phrase
                told += 1
    assert told >= 12


def section(heading: str) -> str:
    """The text below a heading of the second order."""
    return TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_what_keeps_a_stack_from_going_is_taken_off_first() -> None:
    """IAM deletes no policy that somebody has, and step 1 gives `farm-operator` to people."""
    lines = [line.strip() for line in section("AWS").splitlines() if line.startswith("    aws")]
    (gone,) = [number for number, line in enumerate(lines) if "delete-stack" in line]
    assert any("detach-user-policy" in line and "policy/farm-operator" in line for line in lines[:gone])


def test_every_image_of_a_clusters_file_is_built_and_pushed_by_its_section() -> None:
    for heading, file, word, name in (
        ("AWS", "cluster.yaml", "ACCOUNT.dkr.ecr.us-west-2.amazonaws.com", "$REGISTRY"),
        ("Google Cloud", "deploy/gcp/cluster.yaml", "/PROJECT/", "/YOUR-PROJECT/"),
        ("Kubernetes", "deploy/kuberay/rayjob.yaml", "REGISTRY", "REGISTRY"),
    ):
        text = section(heading)
        for written in set(re.findall(r"\S*face-farm:\S+", (ROOT / file).read_text())):
            image = written.replace(word, name)
            assert re.search(rf"docker build .*-t {re.escape(image)} \.", text), image
            assert f"docker push {image}\n" in text, image


def test_ray_itself_keeps_a_node_with_another_ray_out() -> None:
    """What "Upgrades" says: the words are those of `ray start` on a worker, which ends by this check."""
    here = ".".join(map(str, sys.version_info[:3]))
    check_version_info({"ray_version": ray.__version__, "python_version": here}, "node 192.0.2.1")
    with pytest.raises(RuntimeError, match="Version mismatch"):
        check_version_info({"ray_version": "2.52.0", "python_version": here}, "node 192.0.2.1")
    assert "Version mismatch" in section("Upgrades")


def test_prices_are_those_of_the_table() -> None:
    with (ROOT / "farm/cost/prices.toml").open("rb") as file:
        prices = {(one["type"], one["market"]): one for one in tomllib.load(file)["price"]}
    rows = re.findall(r"^\| worker (\S+) (on spot|on demand) \| ([\d.]+) \| (.+) \|$", TEXT, re.MULTILINE)
    assert len(rows) == 3
    for machine, market, figure, source in rows:
        row = prices[machine, "spot" if market == "on spot" else "on-demand"]
        assert float(figure) == row["per_hour"]
        assert str(row["date"]) in source
        assert "check before use" in source
    # the bound that the text does the sum of
    bound = 180 * prices["g5.2xlarge", "spot"]["per_hour"] + 20 * prices["g6.2xlarge", "on-demand"]["per_hour"]
    assert f"{bound:.0f} dollars" in TEXT


def test_node_types_of_the_shipped_files_have_prices() -> None:
    import yaml  # noqa: PLC0415

    with (ROOT / "farm/cost/prices.toml").open("rb") as file:
        table = tomllib.load(file)
    priced = {f"{one['type']} {one['market']}" for one in table["price"]}
    for name in ("cluster.yaml", "deploy/gcp/cluster.yaml"):
        kinds = yaml.safe_load((ROOT / name).read_text())["available_node_types"]
        for kind, node in kinds.items():
            if kind != "head":
                config = node["node_config"]
                machine = config.get("InstanceType") or config["machineType"]
                assert table["kinds"][kind] == f"{machine} {node['labels']['market']}"
                assert table["kinds"][kind] in priced
