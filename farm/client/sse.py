"""Server-sent events out of lines, by the HTML standard's section on event streams."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Message:
    event: str = "message"
    data: str = ""
    id: str | None = None


@dataclass
class Reader:
    """Lines go in, messages come out. `last_id` is what to come back with; `begin` is said at each connection."""

    last_id: str = ""
    _event: str = ""
    _data: list[str] = field(default_factory=list)
    _id: str | None = None

    def begin(self) -> None:
        """A connection begins: what the one before broke off in the middle of is sent again whole."""
        self._event, self._data, self._id = "", [], None

    def line(self, line: str) -> Message | None:
        """One line without its end; a message where it ends one."""
        if not line:
            message = Message(self._event or "message", "\n".join(self._data), self._id) if self._data else None
            if message is not None and message.id is not None:
                self.last_id = message.id
            self.begin()
            return message
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        return None
