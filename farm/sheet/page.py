"""index.html: the cast as a page. No script, nothing from a network; the pictures lie beside it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from core.records import Doubt, MediaIndex
from farm.casttoml import frame_timecode
from farm.paths import link_from
from farm.quality.style import CSS
from farm.quality.svg import Span, clock_text, ribbon
from farm.quality.texts import REASONS, doubt_text
from farm.sheet.contents import PersonEntry

SHOWN_DOUBTS = 100
OWN_CSS = """
.people{list-style:none;margin:0;padding:0;display:grid;gap:1rem}
.people>li{background:var(--card);border-radius:8px;padding:1rem;display:grid;gap:0 1.25rem;
grid-template-columns:9rem minmax(0,1fr)}
.people img{width:9rem;height:9rem}
.people h3{margin:0;font-size:1.15rem}
.people figcaption{position:absolute;left:-99rem}
.people figure{margin:.25rem 0 0}
pre{background:var(--card);border-radius:8px;padding:1rem;overflow-x:auto}
@media (max-width:36rem){.people>li{grid-template-columns:1fr}}
"""


def sheet_page(
    film: Path, folder: Path, index: MediaIndex, people: Sequence[PersonEntry], doubts: Sequence[Doubt]
) -> str:
    """The page for the file `folder`/index.html; its links lead to `film` at the frames it names."""
    link = link_from(folder, film)
    end_s = float((index.end_pts - int(index.pts[0])) * index.time_base)
    name = escape(film.name)
    count = f"{len(people)} {'person' if len(people) == 1 else 'people'}"
    facts = f"{count}, {index.frames} frames, {clock_text(end_s)}"
    cards = "".join(_card(number, person, link, end_s) for number, person in enumerate(people))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Cast of {name}</title><style>{CSS}{OWN_CSS}</style></head><body>"
        '<a class="skip" href="#people">Skip to the people</a>'
        f'<header><h1>Cast of {name}</h1><p class="soft">{facts}</p></header>'
        f'<main><h2 id="people">People</h2><ol class="people">{cards}</ol>'
        f"{_doubtful(doubts, index, link)}{_how()}</main>"
        f"<footer><p>sha256 of the film {index.sha256}</p></footer></body></html>\n"
    )


def _card(number: int, person: PersonEntry, link: str, end_s: float) -> str:
    title = escape(f"{person.id} {person.name}".strip())
    at = (
        f'<a href="{link}#t={person.first_s:.3f}" aria-label="{title}: first seen at {person.first}">{person.first}</a>'
    )
    picture = (
        f'<img src="{escape(quote(person.picture))}" alt="{title}" width="192" height="192" loading="lazy">'
        if person.picture
        else "<div></div>"
    )
    doubts = ", ".join(f"{count} {REASONS.get(reason, reason)}" for reason, count in person.doubts.items())
    told = f"Seen for {clock_text(person.screen_time_s)} in {len(person.shown)} stretches, first at {person.first}"
    bars = ribbon(
        f"shown-{number}",
        f"When {person.id} is seen",
        told,
        Span(0.0, end_s),
        [(first, end, "on") for first, end in person.shown],
        "",
    )
    return (
        f'<li id="{escape(person.id)}">{picture}<div><h3>{title}</h3>'
        f"<p>{clock_text(person.screen_time_s)} in {person.frames} frames, from {at} to {person.last}, "
        f"{len(person.tracks)} {'track' if len(person.tracks) == 1 else 'tracks'}</p>"
        f"{f'<p class=soft>Doubtful frames: {escape(doubts)}</p>' if doubts else ''}{bars}</div></li>"
    )


def _doubtful(doubts: Sequence[Doubt], index: MediaIndex, link: str) -> str:
    """The runs of frames that are likely to look bad, most severe first."""
    if not doubts:
        return "<h2>Frames likely to look bad</h2><p>None.</p>"
    rows = []
    for doubt in sorted(doubts, key=lambda one: (-one.severity, one.first))[:SHOWN_DOUBTS]:
        first, last, worst = (frame_timecode(index, frame) for frame in (doubt.first, doubt.end - 1, doubt.worst_frame))
        at_s = float((int(index.pts[doubt.worst_frame]) - int(index.pts[0])) * index.time_base)
        who, why = escape(doubt.person or f"track {doubt.track}"), escape(REASONS[doubt.reason])
        rows.append(
            f"<tr><td>{first}<small>frame {doubt.first}</small></td><td>{last}<small>frame {doubt.end - 1}</small></td>"
            f"<td>{who}</td><td>{why}<small>{escape(doubt_text(doubt))}</small></td><td>{doubt.severity:.2f}</td>"
            f'<td><a href="{link}#t={at_s:.3f}" aria-label="{who} {why} at {worst}">{worst}</a></td></tr>'
        )
    more = len(doubts) - len(rows)
    rest = f'<p class="soft">and {more} less severe ones, in doubts.json</p>' if more else ""
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("From", "To", "Who", "Why", "Severity", "Worst at"))
    return (
        "<h2>Frames likely to look bad</h2>"
        '<div class="wide" role="region" aria-label="Frames likely to look bad" tabindex="0"><table>'
        f"<caption>Faces that are hard to replace, most severe first</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>{rest}"
    )


def _how() -> str:
    example = escape('[[people]]\nid = "p1"\n...\nsource = "faces/anna.jpg"')
    return (
        "<h2>What to do with it</h2><p>Write into <code>cast.toml</code>, beside this page, whose face each person "
        f"gets, and save it:</p><pre>{example}</pre>"
        "<p>Then render: <code>farm render FILM --cast cast.toml -o OUTPUT</code>. "
        "Everybody without a source stays as they are. The file says what else can be written.</p>"
    )
