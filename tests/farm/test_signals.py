"""SIGINT, SIGTERM and SIGHUP: whatever catches errors, a command unwinds once and ends with one line and 130."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.ray.joining import signals_unwrapped
from farm.cli.signals import SIGNALS, Stopped, Stopping
from tests.system.runs import finish, start, wait_for


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def wait_for_ever() -> None:
    while True:
        signal.pause()


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The test runner's own handlers are there again afterwards, by the class under test. Under nohup the runner
    ignores hang-ups, and would hand that on."""
    hang_up = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    before = [signal.getsignal(number) for number in (*SIGNALS, signal.SIGALRM)]
    yield
    assert [signal.getsignal(number) for number in (*SIGNALS, signal.SIGALRM)] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    signal.signal(signal.SIGHUP, hang_up)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_catches_any_error_of_a_library_lets_a_signal_through(number: signal.Signals) -> None:
    caught = []

    def adapter() -> None:
        try:
            send(number)
        except Exception as error:
            caught.append(error)

    with Stopping() as stopping, pytest.raises(Stopped):
        adapter()
    assert (stopping.number, caught) == (number, [])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_is_lost_comes_again() -> None:
    class Loses:
        def __del__(self) -> None:
            send(signal.SIGTERM)

    def lose() -> None:
        each = Loses()
        del each
        wait_for_ever()

    with Stopping(), pytest.raises(Stopped):
        lose()


def test_a_second_signal_does_not_disturb_the_unwinding() -> None:
    done = []

    def unwind() -> None:
        try:
            send(signal.SIGINT)
        finally:
            for _ in range(3):
                send(signal.SIGTERM)
                signal.pause()  # until the timer came too
            done.append("closed")

    with Stopping() as stopping, pytest.raises(Stopped):
        unwind()
    assert (done, stopping.number) == (["closed"], signal.SIGINT)


def test_under_nohup_a_hang_up_is_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stopping() as stopping:
            send(signal.SIGHUP)
            assert stopping.number is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_import_is_let_finish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_loaded.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nsignal.pause()\nWHOLE = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def load() -> None:
        importlib.import_module("half_loaded")
        wait_for_ever()

    with Stopping(), pytest.raises(Stopped):
        load()
    assert sys.modules.pop("half_loaded").WHOLE


def test_what_ray_wraps_is_unwrapped() -> None:
    def ray_call() -> None:
        try:
            send(signal.SIGINT)
        except Stopped as error:
            raise SystemError("returned a result with an exception set") from error

    with Stopping(), pytest.raises(Stopped), signals_unwrapped():
        ray_call()


def status(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1], 16)
    raise AssertionError(key)


def test_the_doctor_can_be_stopped_while_modules_load() -> None:
    process = start("doctor", "--no-ray")
    wait_for(lambda: bool(status(process.pid, "SigCgt") & 1 << (signal.SIGTERM - 1)), process)
    os.kill(process.pid, signal.SIGTERM)
    ran = finish(process)
    assert (ran.code, ran.out) == (130, "")
    assert ran.err == "farm: stopped by SIGTERM; run the same command again to resume\n"


def test_the_doctor_can_be_stopped_while_it_tries_encoders() -> None:
    process = start("doctor", "--no-ray")
    wait_for(lambda: "libavcodec" in Path(f"/proc/{process.pid}/maps").read_text(), process)
    os.kill(process.pid, signal.SIGINT)
    ran = finish(process)
    assert (ran.code, ran.out) == (130, "")
    assert ran.err == "farm: stopped by SIGINT; run the same command again to resume\n"
