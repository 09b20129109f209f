"""`farm cast JOB`: the people of a service's job, fetched to be edited, and the cast put when it is."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import InputError
from farm.castedit import PersonEdit, edit_people
from farm.castform import cast_people
from farm.cli.out import put, say
from farm.paths import place_from
from farm.service.records import UPLOAD_SCHEME

if TYPE_CHECKING:
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
    file.write_text(sheet.toml)
    return file


def put_cast(farm: Farm, job: str, file: Path) -> None:
    """Send the pictures that `file` names, and the cast with them; the rendering starts."""
    text, people = cast_file(file)
    edits, sent = {}, dict[str, str]()
    for entry in people:
        given = entry.get("source") or []
        names = [given] if isinstance(given, str) else list(given)
        if any(stretch.get("source") for stretch in entry.get("ranges", [])):
            raise InputError(
                f"{entry.get('id')}: a range with a source of its own cannot be sent from here",
                where=str(file),
                hint="upload the picture and write upload:ID in the service's cast",
            )
        if names:
            for name in names:
                if name not in sent:  # one picture of several people is sent once
                    sent[name] = at_service(farm, file, name)
            places = tuple(sent[name] for name in names)
            edits[str(entry["id"])] = PersonEdit(places, entry.get("source_face"))
    farm.put_cast(job, edit_people(text, edits))


def cast_file(file: Path) -> tuple[str, list[dict[str, Any]]]:
    """The text of a cast.toml and the tables of its people; `InputError` where it is none."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
        return text, cast_people(text)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(file), hint="check the path") from None
    except UnicodeDecodeError:
        raise InputError("is not UTF-8", where=str(file), hint="save it as UTF-8") from None
    except InputError as error:
        raise InputError(error.what, where=str(file), hint=error.hint) from None


def at_service(farm: Farm, file: Path, name: str) -> str:
    """Where the service finds a picture of the cast: an upload, or an address as it is."""
    if name.startswith((UPLOAD_SCHEME, "s3://")):
        return name
    return f"{UPLOAD_SCHEME}{farm.upload(place_from(file.parent, name), 'source').id}"


def cast_of_job(farm: Farm, job: str, folder: Path | None, given: Path | None) -> None:
    """What `farm cast JOB` does: fetch the sheet, or put one."""
    if given is not None:
        put_cast(farm, job, given)
        say(f"{job} has its cast, and goes on")
        return
    file = fetch_cast(farm, job, folder if folder is not None else Path(f"{job}.cast"))
    put(f"{file}\n")
    say(f"write who becomes whom into {file}, then farm cast {job} --put {file}")
