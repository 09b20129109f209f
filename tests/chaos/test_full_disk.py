"""A node of a real Ray whose disk is full: a file system of a few kilobytes holds its temporary files. As root only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos import armed
from tests.chaos.monkey import Job, check, forest, hunt

pytestmark = pytest.mark.heavy

ROOM = "32k"  # no segment has so few bytes


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system with `ROOM`."""
    assert os.geteuid() == 0, "to mount a file system needs root"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_the_others_do_the_work_of_a_node_whose_disk_is_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk, forest(tmp_path / "forest", 8, {armed.DISK: str(disk)}) as trees:
        folder = trees.folder / "job-full"
        folder.mkdir()
        job = Job(trees.target, folder, trees.cluster, trees.film, trees.assets, trees.relay, trees.arms)
        armed.instruct(trees.arms, folder.name, folder)
        ran = hunt(job, [])
        check(job, ran)
        assert job.drivers == 1
        assert "No space left on device" in ran.err, "nobody met it"
        assert "Quarantine" in ran.err
        assert [path for path in disk.rglob("*.mp4") if path.stat().st_size] == []
