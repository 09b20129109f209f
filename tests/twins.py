"""A model cache for the tests: the embedded models and the twin of every operator's model at width 8."""

from __future__ import annotations

from pathlib import Path

from core.inference.manifest import load_manifests, manifest_folder
from core.inference.twins import TWINS, build_twin
from core.inference.weights import add, model_file
from tests.faces_assets import model_cache

WIDTH = 8


def fill(cache: Path) -> Path:
    """Put the models into the folder `cache`; embedded ones are links to the machine's own cache."""
    machine = model_cache()
    scratch = cache / "scratch.onnx"
    for manifest in load_manifests(manifest_folder()).values():
        if manifest.embedded:
            model_file(manifest, cache).symlink_to(model_file(manifest, machine))
        elif manifest.id in TWINS:
            scratch.write_bytes(build_twin(manifest, width=WIDTH))
            add(manifest, scratch, cache, unlisted=True, accept_licence=True)
    scratch.unlink()
    return cache
