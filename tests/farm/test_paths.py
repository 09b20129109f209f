"""Names that no file can have, and machines without a home folder: one line and exit code 2, before any work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.errors import InputError
from farm.paths import usable_path
from farm.settings import load_settings
from tests.media_clips import make_clip
from tests.system.runs import farm_here, leftovers

PLAIN = ("--swapper", "none", "--local", "--preset", "ultrafast")
TOO_LONG = "x" * 300 + ".mp4"
NOT_TEXT = os.fsdecode(b"n\xff.mp4")


@pytest.mark.parametrize(("name", "reason"), [(TOO_LONG, "too long"), (NOT_TEXT, "UTF-8"), ("loop.mp4", "links")])
@pytest.mark.parametrize(
    "command",
    [
        ("render", "{bad}", "-o", "{folder}/out.mp4", *PLAIN),
        ("render", "{film}", "-o", "{bad}", *PLAIN),
        ("render", "{film}", "-o", "{folder}/out.mp4", "--store", "{bad}", *PLAIN),
        ("render", "{film}", "-o", "{folder}/out.mp4", "--source", "{bad}", "--local"),
        ("probe", "{bad}"),
        ("verify", "{film}", "{bad}"),
    ],
    ids=lambda value: " ".join(value[:6]),
)
def test_names_that_no_file_can_have(
    command: tuple[str, ...], name: str, reason: str, clips: Path, tmp_path: Path
) -> None:
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / NOT_TEXT).symlink_to(make_clip("cfr_mp4", clips))
    values = {"film": str(make_clip("cfr_mp4", clips)), "folder": str(tmp_path), "bad": str(tmp_path / name)}
    ran = farm_here(*(word.format(**values) for word in command))
    assert (ran.code, ran.out) == (2, "")
    assert reason in ran.error_line
    assert leftovers(tmp_path, ["loop.mp4", NOT_TEXT]) == []


def test_a_long_name_of_a_model_file_is_the_users_to_mend(tmp_path: Path) -> None:
    ran = farm_here("models", "check", "--cache", tmp_path / TOO_LONG)
    assert ran.code == 2
    assert "too long; check the path" in ran.error_line


def test_a_name_may_be_free(tmp_path: Path) -> None:
    assert usable_path(tmp_path / "new" / "film.mp4", "") == tmp_path / "new" / "film.mp4"


def test_the_home_folder_is_asked_only_where_nothing_else_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "nowhere")
    assert load_settings({"FARM_MODEL_CACHE": "/models"}).model_cache == Path("/models")
    assert load_settings({"XDG_CACHE_HOME": "/c"}).model_cache == Path("/c/farm/models")
    with pytest.raises(InputError, match="FARM_MODEL_CACHE"):
        load_settings({})
    monkeypatch.setenv("HOME", "/home/me")
    assert load_settings({}).model_cache == Path("/home/me/.cache/farm/models")
