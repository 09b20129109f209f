"""The `farm` command: its commands, and what every one of them does with an error or a signal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, cast

from core.errors import FarmError, Interrupted

if TYPE_CHECKING:
    import typer

RESUME = "run the same command again to resume"


def make_app() -> typer.Typer:
    """Every command of `farm`. A new command is registered here and nowhere else."""
    # Imported here so that a signal that comes while the modules load is met by the handlers of `main`.
    import typer  # noqa: PLC0415

    from farm.cli import bench, doctor, models, probe, render, verify  # noqa: PLC0415

    app = typer.Typer(
        name="farm",
        help="Replace faces in long films on a farm of machines, and change nothing else.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def farm(
        debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error below its line."),
    ) -> None:
        """Replace faces in long films on a farm of machines, and change nothing else."""

    app.command()(render.render)
    app.command()(probe.probe)
    app.command()(verify.verify)
    app.add_typer(models.app, name="models")
    app.command()(doctor.doctor)
    app.add_typer(bench.app, name="bench")
    return app


def stop(number: int, frame: FrameType | None) -> None:
    """A signal to end: unwinds the job, so that everything is closed and nothing half-written stays."""
    del frame
    # A second signal must not break the unwinding; SIGKILL remains for who cannot wait.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted(f"stopped by {signal.Signals(number).name}", hint=RESUME)


def main(arguments: Sequence[str]) -> int:
    """Run one command; the exit code. Every failure is one line on stderr."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        return command(arguments)
    except FarmError as error:
        told = error
    except KeyboardInterrupt as error:
        told = Interrupted("stopped", hint=RESUME)
        told.__cause__ = error
    except OSError as error:
        from farm.artifacts import storage_error  # noqa: PLC0415

        told = storage_error(error, str(error.filename or ""))
        told.__cause__ = error
    sys.stderr.write(f"farm: {told}\n")
    if "--debug" in arguments:
        import traceback  # noqa: PLC0415

        traceback.print_exception(told)
    return told.exit_code


def command(arguments: Sequence[str]) -> int:
    """Hand the arguments to typer; usage errors become one line and exit code 2."""
    import typer  # noqa: PLC0415

    from farm.settings import quiet_libraries  # noqa: PLC0415

    quiet_libraries()
    # The class of all usage errors; which module it is in depends on typer's version.
    usage_error = cast("type[Exception]", typer.BadParameter.__mro__[1])
    group = typer.main.get_command(make_app())
    try:
        code = group.main(list(arguments), prog_name="farm", standalone_mode=False)
    except usage_error as error:
        text = str(getattr(error, "format_message", error.__str__)()).strip()
        if "\n" in text:  # a command that needs another word prints its help, and that is all there is to say
            sys.stderr.write(f"{text}\n")
        else:
            named = arguments[0] + " " if arguments[0] in getattr(group, "commands", {}) else ""
            sys.stderr.write(f"farm: {text.rstrip('.')}; see `farm {named}--help`\n")
        return 2
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    return code if isinstance(code, int) else 0


def run() -> None:
    """The console script."""
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)


if __name__ == "__main__":
    run()
