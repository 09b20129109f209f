"""`farm cast JOB`: the people of a service's job, fetched to be edited, and the cast put when it is."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import InputError
from farm.castform import cast_people
from farm.castwrite import sources, with_sources
from farm.cli.out import put, say
from farm.paths import place_from, usable_path
from farm.service.records import UPLOAD_SCHEME

if TYPE_CHECKING:
    from farm.api.schemas import JobView
    from farm.client import Farm

TOML = "cast.toml"


def fetch_cast(farm: Farm, job: str, folder: Path) -> Path:
    """The job's cast.toml and its pictures in `folder`; `InputError` where one is there already."""
    file = folder / TOML
    if file.exists():
        raise InputError("is there already", where=str(file), hint="name another folder with -o")
    sheet = farm.cast(job)
    folder.mkdir(parents=True, exist_ok=True)
    for entry in tomllib.loads(sheet.toml).get("people", []):
        picture = Path(str(entry.get("thumbnail") or ""))
        if picture.name and not picture.is_absolute() and ".." not in picture.parts:
            (folder / picture).parent.mkdir(parents=True, exist_ok=True)
            (folder / picture).write_bytes(farm.cast_picture(job, picture.name))
    file.write_text(sheet.toml, encoding="utf-8")
    return file


@dataclass(frozen=True)
class Cast:
    """A cast.toml of this machine that is to go to a service."""

    file: Path
    text: str

    @classmethod
    def read(cls, file: Path) -> Cast:
        """`InputError` where it is none, or names a picture that is not there: before anything is sent."""
        try:
            text = file.read_bytes().decode("utf-8-sig")
            cast_people(text)
            named = sources(text)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", where=str(file), hint="check the path") from None
        except UnicodeDecodeError:
            raise InputError("is not UTF-8", where=str(file), hint="save it as UTF-8") from None
        except InputError as error:
            raise InputError(error.what, where=str(file), hint=error.hint) from None
        for name in named:
            hint = "correct its name in the cast; paths start at the cast's folder"
            if not is_far(name) and not usable_path(place_from(file.parent, name), hint).is_file():
                raise InputError("no such file", where=name, hint=hint)
        return cls(file, text)

    def put(self, farm: Farm, job: str) -> JobView:
        """Send the pictures that it names, each once, and the cast with their uploads; the rendering starts."""
        sent = {name: name if is_far(name) else at_service(farm, self.file, name) for name in sources(self.text)}
        return farm.put_cast(job, with_sources(self.text, sent.__getitem__))


def is_far(name: str) -> bool:
    """Whether a source of a cast is an upload already, or an address."""
    return name.startswith((UPLOAD_SCHEME, "s3://"))


def at_service(farm: Farm, file: Path, name: str) -> str:
    """What a picture that a cast in `file` names is called at the service, when it was sent."""
    return f"{UPLOAD_SCHEME}{farm.upload(place_from(file.parent, name), 'source').id}"


def cast_of_job(farm: Farm, job: str, folder: Path | None, given: Path | None) -> None:
    """What `farm cast JOB` does: fetch the sheet, or put one."""
    if given is not None:
        Cast.read(given).put(farm, job)
        say(f"{job} has its cast, and goes on")
        return
    file = fetch_cast(farm, job, folder if folder is not None else Path(f"{job}.cast"))
    put(f"{file}\n")
    say(f"write who becomes whom into {file}, then farm cast {job} --put {file}")
