"""Every kind of film goes through `farm render --swapper none` and `farm verify`, with the source's container and codec
where the farm encodes it. Lossless identity of the frames is tested below the command, in tests/core/media."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.choice import USUAL_CLIPS, some
from tests.media_clips import CLIPS, make_clip
from tests.system.runs import farm_here, leftovers


@pytest.mark.parametrize("name", some(sorted(CLIPS), USUAL_CLIPS))
def test_render_and_verify(name: str, clips: Path, tmp_path: Path) -> None:
    film = make_clip(name, clips)
    output = tmp_path / f"out{film.suffix}"
    report = farm_here(
        "render", film, "-o", output, "--swapper", "none", "--local", "--segment-seconds", "1", "--json"
    ).report
    assert report.checks_passed == len(report.checks) > 10
    assert report.damage == ()
    assert leftovers(tmp_path, [output.name]) == []
    checked = farm_here("verify", film, output, "--json")
    assert checked.code == 0, checked.out
    assert checked.json["ok"] is True
