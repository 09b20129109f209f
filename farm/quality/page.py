"""The report as one HTML page: nothing beside it, nothing from a network, no script."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from core.faces.moments import Kept
from core.records import Doubt, PersonQuality, QualityReport, Spread
from farm.paths import link_from, place
from farm.quality.plots import outside_plots, person_plots
from farm.quality.style import CSS
from farm.quality.svg import clock_text
from farm.quality.texts import REASONS, TERMS, doubt_text, moment_text, person_title, replaced_text

OPEN_PEOPLE = 4  # whose plots are unfolded from the start
PLOTTED_PEOPLE = 24  # whose plots there are
SHOWN_DOUBTS = 60
SHOWN_MOMENTS = 60  # each has a picture
PEOPLE_HEADS = (
    "Original and output",
    "Person",
    "Replaced",
    "Like the source",
    "Like the original",
    "Pose",
    "Expression",
    "Flicker",
)
DOUBT_HEADS = ("From", "To", "Who", "Why", "Severity", "Worst at")


class Page:
    """Writes the page of `report` for a file in `folder`, so that its links to the films lead there."""

    def __init__(
        self,
        report: QualityReport,
        folder: Path,
        kept: Sequence[Kept] = (),
        portraits: Mapping[str, bytes] | None = None,
    ) -> None:
        self._report, self._kept, self._portraits = report, kept, portraits or {}
        self._original, self._output = (link_from(folder, place(path)) for path in (report.original, report.output))
        self._seconds = (report.pts - report.pts[0]) * float(report.time_base)
        self._end_s = float((report.end_pts - int(report.pts[0])) * report.time_base)

    def html(self) -> str:
        report = self._report
        name = escape(Path(report.output).name)
        body = "".join(
            [
                '<a class="skip" href="#people">Skip to the people</a>',
                f"<header><h1>Quality of {name}</h1>{self._head()}</header><main>",
                self._people(),
                self._moments(),
                self._doubts(),
                self._details(),
                self._outside(),
                self._terms(),
                "</main>",
                self._foot(),
            ]
        )
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Quality of {name}</title>'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f"<style>{CSS}</style></head><body>{body}</body></html>\n"
        )

    # ------------------------------------------------------------ parts

    def _head(self) -> str:
        report = self._report
        films = (
            f'<p>compared with <a href="{self._original}">{escape(Path(report.original).name)}</a>; '
            f'the output is <a href="{self._output}">{escape(Path(report.output).name)}</a></p>'
        )
        facts = f"{report.frames} frames of {report.width}x{report.height}, {clock_text(self._end_s)}"
        looked = "every frame" if report.every == 1 else f"one frame of {report.every}"
        notes = "".join(f'<p class="note">Note: {escape(note)}</p>' for note in report.notes)
        return f'{films}<p class="soft">{facts}; faces were measured in {looked}</p>{notes}'

    def _people(self) -> str:
        people = self._report.people
        if not people:
            return '<h2 id="people">People</h2><p>No face was found in the original.</p>'
        rows = "".join(self._person_row(number, person) for number, person in enumerate(people))
        caption = (
            "Means over the frames in which the face was replaced, or over all where it never was. One person by "
            f"{self._report.recogniser}: distance at most {self._report.same_person:.2f}, a similarity of 0.50."
        )
        return f'<h2 id="people">People</h2>{_table("People", caption, PEOPLE_HEADS, rows)}'

    def _person_row(self, number: int, person: PersonQuality) -> str:
        title = escape(person_title(person))
        if number < PLOTTED_PEOPLE:
            title = f'<a href="#{_anchor(number)}">{title}</a>'
        became = f"<small>became {escape(', '.join(person.sources))}</small>" if person.sources else ""
        share = f"{100 * person.coverage:.1f} %" if person.coverage is not None else "not asked for"
        mark = ' class="bad"' if person.coverage is not None and 0 < person.coverage < 0.995 else ""
        cells = [
            f"<td>{self._portrait(person)}</td>",
            f'<th scope="row">{title}{became}</th>',
            f"<td{mark}>{share}<small>{escape(replaced_text(person))}</small></td>",
            _likeness(person.source_similarity, person.to_source, bad=self._far(person)),
            _likeness(person.original_similarity, person.to_original, bad=False),
            _angles(person),
            _expression(person),
            _cell(person.flicker, "{:.2f}", "times the original", bad=(person.flicker or 0) > 1.5),
        ]
        return f"<tr>{''.join(cells)}</tr>"

    def _far(self, person: PersonQuality) -> bool:
        return person.replaced > 0 and person.to_source is not None and person.to_source.mean > self._report.same_person

    def _portrait(self, person: PersonQuality) -> str:
        data = self._portraits.get(person.id)
        told = f"{person_title(person)} in the original, and in the output"
        return f'<img class="face" src="{_uri(data)}" alt="{escape(told)}">' if data else ""

    def _moments(self) -> str:
        if not self._kept:
            return "<h2>Frames to look at</h2><p>No frame stands out.</p>"
        items = []
        for one in self._kept[:SHOWN_MOMENTS]:
            moment = one.moment
            who = f"{moment.person}: " if moment.person else ""
            what = escape(f"{who}{REASONS[moment.reason]}")
            items.append(
                f'<li><img src="{_uri(one.picture)}" alt="The frame in the original, and in the output">'
                f'<p><strong>{what}</strong></p><p class="soft">{escape(moment_text(moment))}</p>'
                f"<p>{self._at(moment.frame, what)}</p></li>"
            )
        return (
            "<h2>Frames to look at</h2>"
            '<p class="soft">The worst of each kind and person; the original is on the left.</p>'
            f'<ul class="cards">{"".join(items)}</ul>{self._more(len(self._kept) - SHOWN_MOMENTS)}'
        )

    def _more(self, count: int) -> str:
        return f'<p class="soft">and {count} less severe ones, in the JSON</p>' if count > 0 else ""

    def _at(self, frame: int, what: str) -> str:
        """Links to a frame in both films."""
        time_s = float(self._seconds[frame])
        told = f"{clock_text(time_s)}, frame {frame}"
        return (
            f'<a href="{self._output}#t={time_s:.3f}" aria-label="{what}: output at {told}">{told}</a> '
            f'(<a href="{self._original}#t={time_s:.3f}" aria-label="{what}: original at {told}">original</a>)'
        )

    def _doubts(self) -> str:
        doubts = sorted(self._report.doubts, key=lambda one: (-one.severity, one.first))
        if not doubts:
            return ""
        rows = "".join(self._doubt_row(doubt) for doubt in doubts[:SHOWN_DOUBTS])
        rest = self._more(len(doubts) - SHOWN_DOUBTS)
        caption = "Runs of frames of the original in which a face is hard to replace, most severe first"
        return f"<h2>Doubtful before rendering</h2>{_table('Doubtful frames', caption, DOUBT_HEADS, rows)}{rest}"

    def _doubt_row(self, doubt: Doubt) -> str:
        why = escape(REASONS[doubt.reason])
        who = escape(doubt.person or f"track {doubt.track}")
        first, last = (clock_text(float(self._seconds[frame])) for frame in (doubt.first, doubt.end - 1))
        return (
            f"<tr><td>{first}<small>frame {doubt.first}</small></td><td>{last}<small>frame {doubt.end - 1}</small></td>"
            f"<td>{who}</td><td>{why}<small>{escape(doubt_text(doubt))}</small></td><td>{doubt.severity:.2f}</td>"
            f"<td>{self._at(doubt.worst_frame, f'{who} {why}')}</td></tr>"
        )

    def _details(self) -> str:
        parts = []
        people = self._report.people
        for number, person in enumerate(people[:PLOTTED_PEOPLE]):
            unfolded = " open" if number < OPEN_PEOPLE else ""
            parts.append(
                f'<details id="{_anchor(number)}"{unfolded}><summary>{escape(person_title(person))}</summary>'
                f'<div class="plots">{person_plots(self._report, person, self._seconds, f"p{number}")}</div></details>'
            )
        if len(people) > PLOTTED_PEOPLE:
            parts.append(f'<p class="soft">{len(people) - PLOTTED_PEOPLE} more people have no plots here.</p>')
        return f"<h2>Over time</h2>{''.join(parts)}" if parts else ""

    def _outside(self) -> str:
        outside = self._report.outside
        if not outside.samples:
            return "<h2>Outside the faces</h2><p>The faces cover the picture in every frame.</p>"
        if outside.psnr_db is None:
            return "<h2>Outside the faces</h2><p>Nothing differs in any frame.</p>"
        at = self._at(outside.worst_frame, "most changed outside") if outside.worst_frame is not None else ""
        told = (
            f"PSNR {outside.psnr_db:.2f} dB over all frames, mean difference {outside.mean:.3f} and at most "
            f"{outside.most:.0f} of {outside.peak} ({escape(outside.format)}); {outside.frames_identical} of "
            f"{self._report.frames} frames are identical. Most changed: {at}"
        )
        plots = outside_plots(self._report, self._seconds, self._end_s)
        return f'<h2>Outside the faces</h2><p>{told}</p><div class="plots">{plots}</div>'

    def _terms(self) -> str:
        terms = "".join(f"<dt>{escape(term)}</dt><dd>{escape(meaning)}</dd>" for term, meaning in TERMS)
        return f"<h2>What the numbers mean</h2><dl>{terms}</dl>"

    def _foot(self) -> str:
        report = self._report
        versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
        return (
            f"<footer><p>original sha256 {report.original_sha256}</p><p>output sha256 {report.output_sha256}</p>"
            f"<p>{escape(versions)}</p></footer>"
        )


# ---------------------------------------------------------------- cells


def _table(label: str, caption: str, heads: Sequence[str], rows: str) -> str:
    """A table that scrolls by itself where the window is narrow, by keys too."""
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in heads)
    return (
        f'<div class="wide" role="region" aria-label="{escape(label)}" tabindex="0"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(value: float | None, form: str, under: str, *, bad: bool = False) -> str:
    if value is None:
        return '<td><span class="soft">not measured</span></td>'
    mark = ' class="bad"' if bad else ""
    return f"<td{mark}>{form.format(value)}<small>{escape(under)}</small></td>"


def _likeness(similarity: float | None, distance: Spread | None, *, bad: bool) -> str:
    under = f"distance {distance.mean:.2f}, at most {distance.worst:.2f}" if distance else ""
    return _cell(similarity, "{:.2f}", under + (", another person" if bad else ""), bad=bad)


def _angles(person: PersonQuality) -> str:
    angles = (person.yaw_deg, person.pitch_deg, person.roll_deg)
    known = [spread for spread in angles if spread is not None]
    if len(known) < len(angles):
        return _cell(None, "", "")
    names = ", ".join(f"{name} {one.mean:.1f}" for name, one in zip(("yaw", "pitch", "roll"), known, strict=True))
    most = max(one.mean for one in known)
    return _cell(most, "{:.1f}°", names, bad=most > 10)


def _expression(person: PersonQuality) -> str:
    parts = [f"mouth {person.mouth.mean:.3f}"] if person.mouth else []
    parts += [f"eyes {person.eyes.mean:.3f}"] if person.eyes else []
    parts += [f"mouth follows {person.mouth_follows:.2f}"] if person.mouth_follows is not None else []
    return _cell(person.expression, "{:.3f}", ", ".join(parts))


def _anchor(number: int) -> str:
    return f"person-{number + 1}"


def _uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
