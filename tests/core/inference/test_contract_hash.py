"""What of a manifest names the results that are made with it."""

from __future__ import annotations

from dataclasses import replace

from core.inference.manifest import CONTRACT, ModelManifest, contract_hash, load_manifests, manifest_folder

UNREAD = {"title", "licence", "commercial_use", "licence_note", "sha256", "size_bytes", "archive", "file", "url"}


def test_every_field_of_a_manifest_is_judged() -> None:
    assert set(CONTRACT) | UNREAD == set(ModelManifest.__dataclass_fields__)
    assert not set(CONTRACT) & UNREAD


def test_another_template_is_another_contract_and_another_licence_is_not() -> None:
    manifests = load_manifests(manifest_folder())
    one, other = manifests["inswapper_128"], manifests["simswap_256"]
    assert one.template is not None
    moved = replace(one, template=replace(one.template, points=other.template.points if other.template else ()))
    assert contract_hash([one]) == contract_hash([replace(one, licence="another", url="https://example.org")])
    assert (
        len({contract_hash(some) for some in ([one], [moved], [replace(one, pixels=other.pixels)], [one, other])}) == 4
    )
