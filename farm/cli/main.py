"""The `farm` command: its commands, and what every one of them does with an error."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType

import typer

from core.errors import FarmError, Interrupted, StorageError
from farm.artifacts import storage_error
from farm.cli import bench, doctor, models, probe, render, verify

# The class of all usage errors, under whichever name the installed typer has it.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
CLICK_ERROR: type[Exception] = USAGE_ERROR.__mro__[1]


def make_app() -> typer.Typer:
    """Every command of `farm`. A new command is registered here and nowhere else."""
    app = typer.Typer(
        name="farm",
        help="Replace faces in long films on a farm of machines, and change nothing else.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(common)
    app.command()(render.render)
    app.command()(probe.probe)
    app.command()(verify.verify)
    app.add_typer(models.app, name="models")
    app.command()(doctor.doctor)
    app.add_typer(bench.app, name="bench")
    return app


def common(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error below its line."),
) -> None:
    """Replace faces in long films on a farm of machines, and change nothing else."""


def stop(number: int, frame: FrameType | None) -> None:
    """A signal to end: unwinds the job like Ctrl-C, so that everything is closed and nothing half-written stays."""
    del frame
    raise Interrupted(f"stopped by {signal.Signals(number).name}", hint="run the same command again to resume")


def main(arguments: Sequence[str]) -> int:
    """Run one command; the exit code. Every failure is one line on stderr."""
    wants_trace = "--debug" in arguments
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        code = typer.main.get_command(make_app()).main(list(arguments), prog_name="farm", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except FarmError as error:
        return failed(error, wants_trace)
    except CLICK_ERROR as error:
        text = getattr(error, "format_message", error.__str__)()
        if text:  # `farm` alone prints its help, and that is all there is to say
            sys.stderr.write(f"farm: {' '.join(str(text).split())}\n")
        return 2
    except (KeyboardInterrupt, typer.Abort) as error:
        told = Interrupted("stopped", hint="run the same command again to resume")
        told.__cause__ = error
        return failed(told, wants_trace)
    except OSError as error:
        told_storage: StorageError = storage_error(error, str(error.filename or ""))
        told_storage.__cause__ = error
        return failed(told_storage, wants_trace)


def failed(error: FarmError, wants_trace: bool) -> int:
    """Tell a failure in one line; its exit code."""
    sys.stderr.write(f"farm: {error}\n")
    if wants_trace:
        import traceback  # noqa: PLC0415

        traceback.print_exception(error)
    return error.exit_code


def run() -> None:
    """The console script."""
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)


if __name__ == "__main__":
    run()
