"""What SIGINT, SIGTERM and SIGHUP do to a command: it unwinds, so that everything is closed and nothing half-written
stays. SIGHUP comes when the terminal goes, as of a dropped SSH session; under nohup it stays ignored."""

from __future__ import annotations

import signal
import sys
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN_S = 0.1
IMPORT_MACHINERY = "<frozen importlib._bootstrap"


class Stopped(KeyboardInterrupt):
    """Raised out of the handler. Not an Exception: what is caught as "any error of a library" must let it through."""


class Stopping:
    """While it is entered, the first of `SIGNALS` raises `Stopped` in the main thread; `number` is its number.

    Python loses what a handler raises where nobody can catch it (in `__del__`, in a callback from C), and C code that
    imports NumPy turns it into an ImportError. So a timer (SIGALRM) raises it again until the command unwinds, and not
    while a module is being imported. A second signal does not disturb the unwinding: SIGKILL remains for who cannot
    wait. After `over` signals are only noted.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._over = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stopping:
        for number in (signal.SIGALRM, *heeded()):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self.over()
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def over(self) -> None:
        """The command has ended: nothing is raised any more."""
        self._over = True
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            if number == signal.SIGALRM:  # somebody else's
                return
            self.number = number
        if self._over:
            return
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
        if not importing(frame) and not unwinding(sys.exception()):
            raise Stopped(signal.Signals(self.number).name)


def heeded() -> list[signal.Signals]:
    """Those of `SIGNALS` that end a command: all, but for a hang-up that the caller wants ignored."""
    return [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]


def importing(frame: FrameType | None) -> bool:
    """Whether `frame` runs inside the import of a module."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(IMPORT_MACHINERY):
            return True
        frame = frame.f_back
    return False


def unwinding(error: BaseException | None) -> bool:
    """Whether `error`, which is being handled now, is a KeyboardInterrupt or came of one."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        each = todo.pop()
        if each is None or id(each) in seen:
            continue
        if isinstance(each, KeyboardInterrupt):
            return True
        seen.add(id(each))
        todo += [each.__cause__, each.__context__]
    return False
