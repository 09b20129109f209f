"""The faces of a job's roles: each picture is read once, and a role is what it is whoever else is in the job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from core import codec
from core.records import Role, RoleSpec, SourceIdentity, SourceSpec, SwapOptions
from farm.artifacts import DiskStore
from farm.sources import Eyes, keep_sources
from tests.faces_assets import astronaut


@pytest.fixture(scope="module")
def eyes(twins: Path) -> Eyes:
    return Eyes(twins, 2, "centerface")


def test_a_role_has_the_vectors_that_its_own_swapper_needs(eyes: Eyes, twins: Path, tmp_path: Path) -> None:
    picture = tmp_path / "astronaut.png"
    Image.fromarray(astronaut()).save(picture)
    source, store = SourceSpec(str(picture)), DiskStore(str(tmp_path / "store"))
    mesh = RoleSpec(source, "mesh")
    network = RoleSpec(source, "inswapper_128")
    painted = RoleSpec(source, "mesh", SwapOptions(colour="light"))

    def kept(*specs: RoleSpec) -> Sequence[Role]:
        return keep_sources(store, specs, eyes, twins).roles

    plain, swapped, light = kept(mesh, network, painted)
    assert (plain.swapper, swapped.swapper, light.options.colour) == ("mesh", "inswapper_128", "light")
    assert plain.identity == light.identity != swapped.identity
    faces = [codec.decode(store.read(role.identity), SourceIdentity) for role in (plain, swapped)]
    assert [sorted(face.vectors) for face in faces] == [[], ["w600k_r50"]]
    assert faces[0].id == faces[1].id
    assert plain.models == ()
    assert "inswapper_128" in dict(swapped.models)
    assert kept(mesh) == (plain,), "another role of the same source does not change this one"
    assert kept(network, mesh) == (swapped, plain)


def test_one_picture_has_one_number_however_it_is_named(eyes: Eyes, twins: Path, tmp_path: Path) -> None:
    """A path with detours, a copy, another encoding, the face's number, further pictures: still one face."""
    (tmp_path / "sub").mkdir()
    picture, copy, again, mirrored = (tmp_path / name for name in ("a.png", "sub/b.png", "c.png", "d.png"))
    Image.fromarray(astronaut()).save(picture)
    copy.write_bytes(picture.read_bytes())
    Image.fromarray(astronaut()).save(again, compress_level=1)
    assert again.read_bytes() != picture.read_bytes()
    Image.fromarray(astronaut()[:, ::-1]).save(mirrored)
    specs = [
        SourceSpec(str(picture)),
        SourceSpec(str(mirrored)),
        SourceSpec(str(tmp_path / "sub" / ".." / "a.png")),
        SourceSpec(str(copy)),
        SourceSpec(str(again)),
        SourceSpec(str(picture), 1),
        SourceSpec(str(picture), None, (str(mirrored),)),
        SourceSpec(str(mirrored), None, (str(picture),)),
    ]
    kept = keep_sources(DiskStore(str(tmp_path / "store")), [RoleSpec(one, "mesh") for one in specs], eyes, twins)
    assert kept.numbers == (0, 1, 0, 0, 0, 0, 0, 1)
