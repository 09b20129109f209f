"""What people wrote into a cast.toml is put aside, each time under a name of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from farm.castguard import put_aside


@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=8))
def test_every_text_that_was_put_aside_is_still_there(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cast = Path(folder) / "cast.toml"
        assert put_aside(cast) is None
        for text in texts:
            cast.write_text(text)
            old = put_aside(cast)
            assert old is not None
            assert (old.read_text(), cast.exists()) == (text, False)
        different = list(dict.fromkeys(texts))
        names = ["cast.toml.old", *(f"cast.toml.old.{number}" for number in range(2, len(different) + 1))]
        kept = {path.name: path.read_text() for path in Path(folder).iterdir()}
        assert kept == dict(zip(names, different, strict=False))


def test_whatever_has_the_name_stays(tmp_path: Path) -> None:
    cast = tmp_path / "cast.toml"
    (tmp_path / "cast.toml.old").mkdir()
    (tmp_path / "cast.toml.old.2").symlink_to(tmp_path / "gone")
    cast.write_text("mine")
    assert put_aside(cast) == tmp_path / "cast.toml.old.3"
    assert (tmp_path / "cast.toml.old.2").is_symlink()
