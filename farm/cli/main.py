"""The `farm` command: its commands, and what every one of them does with an error or a signal."""

from __future__ import annotations

import errno
import logging
import os
import select
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from core.errors import FarmError, InputError, Interrupted, PlanError
from farm.cli.out import put
from farm.cli.signals import Stopping, heeded
from farm.settings import json_wanted
from farm.watching.jsonlog import begin_json, end_json, log, speaks_json

if TYPE_CHECKING:
    import typer

SERVICE = "The service"
RESUME = "run the same command again to resume"
PIPE_CODE = 128 + signal.SIGPIPE


def make_app() -> typer.Typer:
    """Every command of `farm`. A new command is registered here and nowhere else."""
    # Imported here so that a signal that comes while the modules load is met by the handlers of `main`.
    import typer  # noqa: PLC0415

    from farm.cli import (  # noqa: PLC0415
        analyse,
        bench,
        cast,
        cluster,
        compare,
        doctor,
        job,
        models,
        probe,
        remote,
        render,
        serve,
        simulate,
        store,
        tenant,
        verify,
        watch,
    )

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

    app.command(epilog=render.EPILOGUE)(render.render)
    app.command()(job.job)
    app.command()(analyse.analyse)
    app.command()(cast.cast)
    app.command()(probe.probe)
    app.command()(watch.watch)
    app.command()(verify.verify)
    app.command()(compare.compare)
    app.command()(simulate.simulate)
    app.add_typer(models.app, name="models")
    app.command()(doctor.doctor)
    app.command(rich_help_panel=SERVICE)(serve.serve)
    for command in (
        remote.submit,
        remote.jobs,
        remote.status,
        remote.get,
        remote.cancel,
        remote.pause,
        remote.resume,
        remote.retry,
        remote.erase,
    ):
        app.command(rich_help_panel=SERVICE)(command)
    app.add_typer(tenant.app, name="tenant", rich_help_panel=SERVICE)
    app.add_typer(cluster.app, name="cluster")
    app.add_typer(store.app, name="store")
    app.add_typer(bench.app, name="bench")
    return app


def main(arguments: Sequence[str]) -> int:
    """Run one command; the exit code. Every failure is one line on stderr."""
    with Stopping() as stopping:
        told: FarmError | None
        try:
            code, told = attempt(arguments)
            stopping.over()
        except KeyboardInterrupt as error:
            code, told = Interrupted.exit_code, Interrupted("stopped", hint=RESUME)
            told.__cause__ = error
        if stopping.number is not None and told is not None:
            # Whatever else went wrong after the signal came of it.
            cause, told = told, Interrupted(f"stopped by {signal.Signals(stopping.number).name}", hint=RESUME)
            code, told.__cause__ = told.exit_code, cause
        if told is not None:
            with suppress(OSError):
                tell(told, debug="--debug" in arguments)
        end_json()
        return code


def attempt(arguments: Sequence[str]) -> tuple[int, FarmError | None]:
    """Run one command: its exit code, and the error to tell if there is one."""
    told: FarmError
    try:
        if json_wanted(arguments):
            begin_json()
        code = command(arguments)
        put("")
        return code, None
    except FarmError as error:
        return error.exit_code, error
    except OSError as error:
        if isinstance(error, BrokenPipeError) and reader_gone():
            return PIPE_CODE, None
        told = refusal(error)
        told.__cause__ = error
    except Exception as error:  # the last resort: a fault of ours is one line too
        detail = " ".join(str(error).split())
        told = PlanError(
            f"internal error: {type(error).__name__}{': ' if detail else ''}{detail}",
            hint="run again with --debug and report it",
        )
        told.__cause__ = error
    return told.exit_code, told


def refusal(error: OSError) -> FarmError:
    """An operating system's refusal that nobody translated."""
    from farm.artifacts import storage_error  # noqa: PLC0415

    if error.errno in {errno.ENAMETOOLONG, errno.ELOOP}:
        return InputError(f"cannot be used: {error.strerror}", where=str(error.filename or ""), hint="check the path")
    return storage_error(error, error.filename or "")


def tell(error: FarmError, *, debug: bool) -> None:
    """The error on stderr, with its traceback when asked for."""
    if speaks_json():
        where = {"what": error.what, "where": error.where, "hint": error.hint, "exit_code": error.exit_code}
        log(logging.ERROR, str(error), error=error if debug else None, **where)
        return
    sys.stderr.write(f"farm: {error}\n")
    if debug:
        import traceback  # noqa: PLC0415

        traceback.print_exception(error)
    sys.stderr.flush()


def reader_gone() -> bool:
    """Whether stdout or stderr is a pipe that nobody reads any more."""
    poll = select.poll()
    for number in (1, 2):
        poll.register(number, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def command(arguments: Sequence[str]) -> int:
    """Hand the arguments to typer; usage errors become one `InputError`."""
    import typer  # noqa: PLC0415

    from farm.settings import quiet_libraries  # noqa: PLC0415

    quiet_libraries()
    # The class of all usage errors; which module it is in depends on typer's version.
    usage_error = cast("type[Exception]", typer.BadParameter.__mro__[1])
    group = typer.main.get_command(make_app())
    try:
        # What typer's own main does, without its ways with signals and closed pipes.
        with group.make_context("farm", list(arguments)) as context:
            group.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    except usage_error as error:
        text = str(getattr(error, "format_message", error.__str__)()).strip()
        if not text or "\n" in text:  # a command that needs another word prints its help, and nothing else is to say
            sys.stderr.write(f"{text}\n" if text else "")
            return 2
        named = arguments[0] + " " if arguments[0] in getattr(group, "commands", {}) else ""
        raise InputError(text.rstrip("."), hint=f"see `farm {named}--help`") from None
    return 0


def open_streams() -> None:
    """Give the standard streams that the caller closed somewhere to go.

    Their numbers would be given to the next files opened, and libraries write to 1 and 2.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def run(arguments: Sequence[str] | None = None) -> None:
    """The console script: `main` as a process of its own."""
    open_streams()
    code = main(sys.argv[1:] if arguments is None else arguments)
    for number in heeded():  # all is said and done: a signal may end what is left of the interpreter
        signal.signal(number, signal.SIG_DFL)
    if code == PIPE_CODE:  # as other tools end when nobody reads on
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # was told; what is left over must not be told again by the interpreter's end
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


if __name__ == "__main__":
    run()
