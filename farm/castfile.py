"""cast.toml: who is in a film and who becomes whom, written for a person to edit, and read again.

The file is the contract between `farm cast`, which writes it, a person, who names sources in it, and `farm render
--cast`, which obeys it. Its numbers of tracks belong to one analysis of one film; both are named in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core import codec
from core.errors import InputError
from core.records import NOBODY, Ban, CastPlan, MediaIndex, Person, PersonPlan, RoleSpec, SwapOptions, TrackTable
from farm.artifacts import storage_error
from farm.castpeople import PERSON_HINT, Entry, Roles, merged, plan_of, read_person
from farm.casttoml import Fields, commented, frame_timecode, frames_between, number_list, quoted, read_toml
from farm.store.whole import put_whole

VERSION = 1
HEAD = (
    "Who is in the film, and who becomes whom. Edit this file, then run",
    "    farm render FILM --cast THIS_FILE -o OUTPUT",
    "",
    "Each table below is one person. To put another face in, name an image of it; paths start at this file:",
    '    source = "faces/anna.jpg"             or ["anna1.jpg", "anna2.jpg"]: more images of the same face',
    "    source_face = 2                       which face of the (first) image, counted from the left",
    "Left empty, the person stays as he is. Settings of one person alone:",
    "    swapper, precision, enhancer, enhancer_blend, enhancer_weight, enhancer_may_go, paste, colour: as the",
    '    options of `farm render`, which they replace; beside a network, as swapper = "inswapper_128", and not',
    "    beside the mesh, also strength, boost, masks, mask_blur, mask_padding, occlusion_model, region_model",
    "    never = true                          this person is never replaced",
    "Two tables show one person? Write into the second",
    '    same_as = "p1"',
    "Two people in one table? Move the numbers of some tracks into another table, or a new one with a new id.",
    "For a part of the film only, below a person's lines (times HH:MM:SS.mmm or seconds; `to` is not included):",
    "    [[people.ranges]]",
    '    from = "00:01:00.000"',
    '    to = "00:02:30.000"',
    "    skip = true                           or a source, or settings, for these frames",
)
RULES = (
    "For everybody. Places that are never touched, of the frames from..to:",
    "    [[rules.skip]]",
    '    from = "00:00:10.000"',
    '    to = "00:00:20.000"',
    "    box = [0.0, 0.0, 0.5, 1.0]            left, top, right, bottom in parts of the picture; all of it if left out",
)


@dataclass(frozen=True)
class CastRequest:
    """What a cast asks for: the job's roles, the plan that uses them, what to tell the user, and people's names."""

    roles: tuple[RoleSpec, ...]
    plan: CastPlan
    notes: tuple[str, ...] = ()
    names: dict[str, str] = field(default_factory=dict)  # by id; "" where nobody wrote one


def tracks_digest(tracks: TrackTable) -> str:
    """What the numbers of tracks mean, in 32 hex digits: other finds, or other tracks of them, give another one."""
    return codec.digest([tracks.first, tracks.end, tracks.best_frame, tracks.best_box])[:32]


# ---------------------------------------------------------------- writing


def write_cast(
    path: Path,
    film: str,
    index: MediaIndex,
    analysis: str,
    people: Sequence[Person],
    tracks: TrackTable,
    *,
    thumbnails: Mapping[str, str] | None = None,
    names: Mapping[str, str] | None = None,
) -> None:
    """Write the cast of `people` to `path`, whole or not at all; nobody has a source yet.

    `film` is its file name, for a reader; `analysis` names what the tracks' numbers belong to (`tracks_digest`).
    `thumbnails` are paths by person's id, from the folder of `path`, and `names` what people are called.
    `StorageError` when it cannot be written.
    """
    text = cast_text(film, index, analysis, people, tracks, thumbnails or {}, names or {})
    try:
        put_whole(path, text.encode())
    except OSError as error:
        raise storage_error(error, path) from error


def cast_text(
    film: str,
    index: MediaIndex,
    analysis: str,
    people: Sequence[Person],
    tracks: TrackTable,
    thumbnails: Mapping[str, str],
    names: Mapping[str, str],
) -> str:
    """The text of a cast.toml."""
    blocks = [
        commented(HEAD),
        "[film]\n"
        f"name = {quoted(film)}\nsha256 = {quoted(index.sha256)}\nframes = {index.frames}\n"
        f"analysis = {quoted(analysis)}\nversion = {VERSION}\n",
        "[rules]\nminimum_face_px = 0      # faces that are mostly smaller, by their track's median, are left\n"
        "share_sources = false    # true: two people of one frame may get the same face\n" + commented(RULES),
    ]
    blocks += [
        _person_text(person, index, tracks, thumbnails.get(person.id, ""), names.get(person.id, ""))
        for person in people
    ]
    return "\n".join(blocks)


def _person_text(person: Person, index: MediaIndex, tracks: TrackTable, thumbnail: str, name: str) -> str:
    rows = np.array(person.tracks, np.intp)
    first, last = int(tracks.first[rows].min()), int(tracks.end[rows].max()) - 1
    ticks = sum(_ticks(index, int(tracks.first[row]), int(tracks.end[row])) for row in person.tracks)
    return (
        "[[people]]\n"
        f"id = {quoted(person.id)}\nname = {quoted(name)}\nthumbnail = {quoted(thumbnail)}\n"
        f"screen_time_s = {float(ticks * index.time_base):.3f}\n"
        f"frames = {int((tracks.end[rows] - tracks.first[rows]).sum())}\n"
        f"first = {quoted(frame_timecode(index, first))}\nlast = {quoted(frame_timecode(index, last))}\n"
        f'tracks = {number_list(person.tracks)}\nsource = ""\n'
    )


def _ticks(index: MediaIndex, first: int, end: int) -> int:
    """How long the frames [first, end) are shown."""
    stop = int(index.pts[end]) if end < index.frames else index.end_pts
    return stop - int(index.pts[first])


# ---------------------------------------------------------------- reading


@dataclass(frozen=True)
class _Written:
    """A cast as its file says it; nothing is known of the film's tracks yet."""

    analysis: str
    rules: tuple[float, bool, tuple[Ban, ...]]
    entries: tuple[Entry, ...]
    people: tuple[PersonPlan, ...]
    roles: Roles


def check_cast(path: Path, index: MediaIndex, *, swapper: str = "mesh", options: SwapOptions | None = None) -> None:
    """Refuse, as `read_cast` does, what can be told without the film's tracks."""
    _written(path, index, swapper, options)


def read_cast(
    path: Path,
    index: MediaIndex,
    tracks: TrackTable,
    analysis: str,
    *,
    swapper: str = "mesh",
    options: SwapOptions | None = None,
    least_face_px: float = 0.0,
    checked: bool = True,
) -> CastRequest:
    """What the cast at `path` asks for of the film of `index`.

    `analysis` names what the tracks' numbers belong to; `swapper` and `options` are those of people who set none, and
    faces below the greater of `least_face_px` and the file's own are left. Not `checked`, for
    who wants to know only who becomes whom, settings need not be those that a swapper can do. The plan's `sources`
    are (): which pictures show the same face is known when they are read (farm.sources). `InputError` or `ModelError`
    in one line for whatever is wrong, with the file and the person.
    """
    cast = _written(path, index, swapper, options, checked=checked)
    if cast.analysis != analysis:
        told = "the cast is of another analysis of this film: its track numbers mean other faces"
        raise InputError(told, where=str(path), hint="make it again with `farm cast`")
    notes = _check_tracks(cast.entries, tracks, path)
    least_px, share, bans = cast.rules
    plan = CastPlan(cast.people, bans, share=share, least_px=max(least_px, least_face_px))
    notes += _idle_ranges(plan, tracks, path)
    notes += [f"{path.name}: nobody in the cast takes --{name.replace('_', '-')}" for name in cast.roles.unused()]
    return CastRequest(tuple(cast.roles.specs), plan, tuple(notes), {one.id: one.name for one in cast.entries})


def _written(
    path: Path, index: MediaIndex, swapper: str, options: SwapOptions | None, *, checked: bool = True
) -> _Written:
    file = Fields(read_toml(path), path, "the cast")
    made_of = _check_film(file, index)
    rules = _read_rules(file, index)
    tables = file.tables("people", "people")
    file.done()
    if not tables:
        raise InputError("nobody is in the cast", where=str(path), hint="make one with `farm cast`")
    entries = [read_person(data, number, path, index) for number, data in enumerate(tables, 1)]
    roles = Roles(swapper, options or SwapOptions(), checked=checked)
    people = tuple(plan_of(one, roles) for one in merged(entries, path))
    if not any(one.role != NOBODY or any(span.role != NOBODY for span in one.spans) for one in people):
        raise InputError("nobody in the cast has a source", where=str(path), hint=PERSON_HINT)
    return _Written(made_of, rules, tuple(entries), people, roles)


def _check_film(file: Fields, index: MediaIndex) -> str:
    """The analysis that the cast is of; `InputError` for another film's, or another version of the format."""
    film = Fields(file.take("film", (dict,), "[film] as `farm cast` does") or {}, file.path, "[film]")
    sha256, name, made_of = film.text("sha256"), film.text("name"), film.text("analysis")
    frames, version = film.whole("frames", 1), film.whole("version", 1)
    film.done()
    again = "make one of this film with `farm cast`"
    if sha256 is None or made_of is None or version is None:
        raise film.error("sha256, analysis or version is missing", again)
    if version != VERSION:
        raise film.error(f"written in version {version} of the format, this program reads {VERSION}", again)
    if sha256 != index.sha256 or (frames is not None and frames != index.frames):
        told = f"the cast is of another film{f', {name}' if name else ''}: sha256 {sha256[:16]}"
        raise InputError(f"{told}, not {index.sha256[:16]}", where=str(file.path), hint=again)
    return made_of


def _read_rules(file: Fields, index: MediaIndex) -> tuple[float, bool, tuple[Ban, ...]]:
    rules = Fields(file.take("rules", (dict,), "[rules] above its lines") or {}, file.path, "[rules]")
    least_px = rules.number("minimum_face_px", 0, float("inf")) or 0.0
    share = rules.flag("share_sources")
    bans = []
    for number, data in enumerate(rules.tables("skip", "rules.skip"), 1):
        skip = Fields(data, file.path, f"[[rules.skip]] {number}")
        wanted = "box = [left, top, right, bottom] in parts of the picture, 0 to 1"
        box = skip.numbers("box", wanted)
        if box is not None and not (len(box) == 4 and 0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
            raise skip.error(f"box = {list(box)}", f"write {wanted}")
        first, end = frames_between(skip, index)
        skip.done()
        bans.append(Ban(first, end, (box[0], box[1], box[2], box[3]) if box is not None else None))
    rules.done()
    return least_px, share, tuple(bans)


def _check_tracks(entries: Sequence[Entry], tracks: TrackTable, path: Path) -> list[str]:
    """`InputError` for tracks that are not there or are two people's; notes about those that nobody has."""
    owner: dict[int, str] = {}
    for one in entries:
        for track in one.tracks:
            if not 0 <= track < len(tracks):
                told = f"{one.id}: there is no track {track}"
                known = f"the film has tracks 0 to {len(tracks) - 1}" if len(tracks) else "the film has no tracks"
                raise InputError(told, where=str(path), hint=known)
            if track in owner:
                whose = f"{owner[track]} and {one.id}" if owner[track] != one.id else f"{one.id} twice"
                raise InputError(f"track {track} is given to {whose}", where=str(path), hint="leave it with one")
            owner[track] = one.id
    lost = [track for track in range(len(tracks)) if track not in owner]
    if not lost:
        return []
    some = ", ".join(str(track) for track in lost[:5]) + (", ..." if len(lost) > 5 else "")
    return [f"{path.name}: {len(lost)} of {len(tracks)} tracks belong to nobody and are left as they are: {some}"]


def _idle_ranges(plan: CastPlan, tracks: TrackTable, path: Path) -> list[str]:
    """Notes about ranges in which the person is not to be seen."""
    notes = []
    for one in plan.people:
        rows = np.array(one.tracks, np.intp)
        for span in one.spans:
            if not bool(((tracks.first[rows] < span.end) & (tracks.end[rows] > span.first)).any()):
                notes.append(f"{path.name}: {one.id} is not to be seen in the frames {span.first} to {span.end - 1}")
    return notes
