"""Damaged GOPs: the same frames whatever the segmentation, and an honest list of what is wrong with each.

What a decoder makes of bad data depends on the frames it decoded before and on its threads. So a GOP in which
anything is wrong is decoded again by a new decoder with one thread that starts at a place fixed by the index: once
to learn what comes out, once for the frames. Only such films pay for it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import av

from core.errors import InputError
from core.media.feed import Event, Film, feed
from core.media.planes import copy_frame

# Frames of later GOPs, or packets after the GOP's last, after which a decoder with one thread has given what it had.
PAST_FRAMES = 8
PAST_PACKETS = 64
NOT_DECODED = "no frame came out of the decoder"


@dataclass(frozen=True)
class Survey:
    """What a decoder that starts at keyframe `start` makes of a GOP: which frames come, which are bad and why."""

    start: int
    came: frozenset[int]
    bad: dict[int, str]


@dataclass
class Tail:
    """The frame shown last before ordinal `end`, as a copy of its own."""

    end: int
    frame: av.VideoFrame


class Repair:
    """Decodes damaged GOPs of one film; remembers the last frame of the latest one."""

    def __init__(self, film: Film) -> None:
        self.film = film
        self.tail: Tail | None = None

    def frames(self, key: int, end: int) -> Generator[tuple[int, av.VideoFrame, str | None], None, None]:
        """(ordinal, frame, damage) of every frame of the GOP `[key, end)`, in order; the frames are the caller's."""
        survey = self.survey(key, end)
        events = _frames_only(feed(self.film, survey.start, threads=1, strict=False))
        held: dict[int, av.VideoFrame] = {}
        previous: av.VideoFrame | None = None
        for ordinal in range(key, end):
            frame = _pull(events, held, ordinal, end) if ordinal in survey.came else None
            if frame is None:
                previous = previous or self._shown_around(key)
                frame = copy_frame(previous)
                frame.pts = int(self.film.index.pts[ordinal])
            elif ordinal + 1 == end or ordinal + 1 not in survey.came:
                previous = copy_frame(frame)
            yield ordinal, frame, survey.bad.get(ordinal)
        events.close()
        if previous is not None:
            self.tail = Tail(end, previous)

    def survey(self, key: int, end: int) -> Survey:
        """The best that can be had of a GOP: from its usual start or, if its first frame is bad so, from earlier."""
        usual = self.film.seek(key)
        first = self._survey(usual, key, end)
        if key in first.came and key not in first.bad:
            return first
        for start in dict.fromkeys((self.film.earlier(usual, 1), self.film.earlier(usual, 4))):
            survey = self._survey(start, key, end)
            if key in survey.came and key not in survey.bad:
                return survey
        return first

    def _survey(self, start: int, key: int, end: int) -> Survey:
        film = self.film
        came: set[int] = set()
        bad: dict[int, str] = {}
        for event in self._gop_events(start, key, end, strict=False):
            if event.fault:
                bad.setdefault(event.ordinal, event.fault)
            if event.frame is not None:
                came.add(event.ordinal)
        if film.strict:
            for event in self._gop_events(start, key, end, strict=True):
                if event.fault:
                    bad.setdefault(event.ordinal, event.fault)
        for ordinal in range(key, end):
            if ordinal not in came:
                bad.setdefault(ordinal, NOT_DECODED)
        packet = film.index.packet
        # The keyframe that follows may be what spoils the leading frames stored after it.
        culprits = [o for o in bad if o >= key and (o < end or packet[o] < int(packet[key:end].max()))]
        if culprits:
            worst = min(culprits, key=lambda o: int(packet[o]))
            for ordinal in range(key, end):
                if packet[ordinal] > packet[worst]:
                    bad.setdefault(ordinal, f"may show traces of damaged frame {worst}")
        return Survey(start, frozenset(o for o in came if key <= o < end), {o: bad[o] for o in bad if key <= o < end})

    def _gop_events(self, start: int, key: int, end: int, *, strict: bool) -> Iterator[Event]:
        """Events of a decoder from `start` until the GOP `[key, end)` cannot give any more."""
        packet = self.film.index.packet
        last = int(packet[key:end].max()) + PAST_PACKETS
        past = 0
        events = feed(self.film, start, threads=1, strict=strict, last=last)
        for event in events:
            if event.frame is not None and event.ordinal >= end:
                past += 1
            if event.ordinal >= key:
                yield event
            if past > PAST_FRAMES:
                break
        events.close()

    def _shown_around(self, key: int) -> av.VideoFrame:
        """A copy of the frame shown last before `key`; where the film has none, of the first one after it."""
        if self.tail is not None and self.tail.end == key:
            return self.tail.frame
        film = self.film
        before = key
        while before > 0:
            lower, upper = film.gop(before - 1)
            survey = self.survey(lower, upper)
            if survey.came:
                return self._single(survey, max(survey.came), upper)
            before = lower
        after = key
        while after < film.index.frames:
            lower, upper = film.gop(after)
            survey = self.survey(lower, upper)
            if survey.came:
                return self._single(survey, min(survey.came), upper)
            after = upper
        raise InputError("no frame of it can be decoded", where=str(film.path), hint="the film is damaged")

    def _single(self, survey: Survey, ordinal: int, end: int) -> av.VideoFrame:
        events = _frames_only(feed(self.film, survey.start, threads=1, strict=False))
        frame = _pull(events, {}, ordinal, end)
        events.close()
        if frame is None:
            raise InputError(
                f"frame {ordinal} decodes only at times", where=str(self.film.path), hint="the film is damaged"
            )
        return copy_frame(frame)


def _frames_only(events: Iterator[Event]) -> Generator[tuple[int, av.VideoFrame], None, None]:
    for event in events:
        if event.frame is not None:
            yield event.ordinal, event.frame


def _pull(
    frames: Iterator[tuple[int, av.VideoFrame]], held: dict[int, av.VideoFrame], ordinal: int, end: int
) -> av.VideoFrame | None:
    """The frame `ordinal`; others that come before it are kept in `held` when they are still to be shown."""
    if ordinal in held:
        return held.pop(ordinal)
    past = 0
    for number, frame in frames:
        if number == ordinal:
            return frame
        if ordinal < number < end:
            held.setdefault(number, frame)
        past += number >= end
        if past > PAST_FRAMES:
            return None
    return None
