"""Sources in a cast.toml that are one picture in several spellings, and a cast that is read only for who is who."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import InputError
from farm.castfile import read_cast
from tests.farm.test_castfile import DIGEST, INDEX, TRACKS, asked, folder, written

__all__ = ["folder"]


def test_the_same_file_in_two_spellings_is_one_source_of_one_person(folder: Path) -> None:
    (folder / "link.png").symlink_to(folder / "faces" / "anna.png")
    for spelled in ("faces/../faces/anna.png", "./faces//anna.png", str(folder / "faces" / "anna.png"), "link.png"):
        request = asked(folder, p1='source = "faces/anna.png"', p2=f'source = "{spelled}"\nsame_as = "p1"')
        assert [(one.id, one.role, one.tracks) for one in request.plan.people] == [
            ("p1", 0, (0, 1, 2, 3)),
            ("p3", -1, (4,)),
        ]
    for other in ('"faces/bert.png"', '["faces/anna.png", "faces/bert.png"]'):
        with pytest.raises(InputError, match="two sources for one person: p1 is the same as p2"):
            asked(folder, p1='source = "faces/anna.png"', p2=f'source = {other}\nsame_as = "p1"')


def test_who_becomes_whom_can_be_read_without_the_commands_swapper(folder: Path) -> None:
    """The settings are a network's, and whoever reads does not know that the command named one."""
    path = written(folder)
    path.write_text(path.read_text().replace('source = ""', 'source = "faces/anna.png"\nmasks = "hull"', 1))
    with pytest.raises(InputError, match="masks"):
        read_cast(path, INDEX, TRACKS, DIGEST)
    known = read_cast(path, INDEX, TRACKS, DIGEST, swapper="inswapper_128")
    assert read_cast(path, INDEX, TRACKS, DIGEST, checked=False).plan == known.plan
    path.write_text(path.read_text().replace('masks = "hull"', 'masks = "veil"'))
    with pytest.raises(InputError, match="veil"):
        read_cast(path, INDEX, TRACKS, DIGEST, checked=False)
