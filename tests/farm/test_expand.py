"""Options that commands share: the command line is the same as if they were written out."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from farm.cli.expand import expand


@dataclass(frozen=True)
class Group:
    """Two options."""

    colour: Annotated[str, typer.Option(help="Which.")]
    paths: Annotated[list[Path] | None, typer.Option()] = None


def test_the_fields_of_a_group_are_options_and_come_back_as_one() -> None:
    seen: list[tuple[str, Group, bool]] = []

    @expand
    def command(name: Annotated[str, typer.Argument()], *, group: Group, loud: bool = False) -> None:
        seen.append((name, group, loud))

    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, ["x", "--colour", "red", "--paths", "a", "--paths", "b", "--loud"])
    assert done.exit_code == 0, done.output
    assert seen == [("x", Group("red", [Path("a"), Path("b")]), True)]
    assert CliRunner().invoke(app, ["x"]).exit_code == 2  # --colour has no default
    assert list(inspect.signature(command).parameters) == ["name", "colour", "paths", "loud"]


def test_an_option_that_is_there_twice_is_a_fault_of_the_command() -> None:
    def command(*, group: Group, colour: str = "") -> None: ...

    with pytest.raises(TypeError, match="twice"):
        expand(command)
