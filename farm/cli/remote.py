"""`farm submit`, `status`, `jobs`, `get`, `cancel` and so on: a service somewhere else, from the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import FarmError, InputError, PolicyError
from farm.cli.expand import expand
from farm.cli.film_options import FILM, FilmOptions, job_spec
from farm.cli.out import put, say
from farm.cli.remote_cast import Cast
from farm.paths import place
from farm.settings import service_address

if TYPE_CHECKING:
    from farm.api.schemas import JobView
    from farm.client import Farm

SERVICE = "The service"
JOB = "job_"


@dataclass(frozen=True)
class Address:
    """Which service, and who asks; see farm.cli.expand."""

    url: Annotated[
        str | None,
        typer.Option(envvar="FARM_URL", rich_help_panel=SERVICE, help="Its address, as http://127.0.0.1:8000."),
    ] = None
    key: Annotated[
        str | None,
        typer.Option(envvar="FARM_KEY", rich_help_panel=SERVICE, help="An API key; better in FARM_KEY than here."),
    ] = None


@dataclass(frozen=True)
class Service(Address):
    """The same, and how it is told what a service says."""

    json: Annotated[bool, typer.Option("--json", help="Print what the service answers as JSON on stdout.")] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error below its line.")] = False


JobId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id: job_...")]


@contextmanager
def service_of(service: Address) -> Iterator[Farm]:
    """The client; `InputError` where nothing says which service, or who asks."""
    from farm.client import Farm  # noqa: PLC0415 - other commands start without an HTTP client

    url, key = service_address(service.url, service.key)
    with Farm(url, key) as farm:
        yield farm


def is_remote(text: str) -> bool:
    """Whether a command's JOB is one of a service, not a film or folder of this machine."""
    return text.startswith(JOB) and "/" not in text and not Path(text).exists()


def line(job: JobView) -> str:
    """A job in one line."""
    progress = job.progress
    share = f", {100 * progress.frames_done // progress.frames_total} %" if progress.frames_total else ""
    eta = f", {progress.eta_low_s or 0:.0f} to {progress.eta_high_s:.0f} s left" if progress.eta_high_s else ""
    stage = f" ({progress.stage}{share}{eta})" if progress.stage and job.finished is None else ""
    cost = f", {job.spent.cost:.2f} {job.spent.currency}" if job.spent.cost else ""
    problem = f": {job.problem.detail}; {job.problem.next_step}" if job.problem else ""
    return f"{job.id} {job.state}{stage}{cost} {job.title}{problem}"


def told(job: JobView, *, as_json: bool) -> None:
    put(job.model_dump_json() + "\n" if as_json else line(job) + "\n")


@expand
def submit(
    target: Annotated[Path, typer.Argument(parser=place, metavar="TARGET", help="The film, a file or s3://.")],
    *,
    film: FilmOptions,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The result's file name; its ending says the container.")
    ] = None,
    title: Annotated[str, typer.Option(help="What the job is called.")] = "",
    priority: Annotated[int, typer.Option(min=-100, max=100, help="Higher goes first.")] = 0,
    wait_for_cast: Annotated[
        bool, typer.Option("--wait-for-cast", help="Stop after the analysis until a cast is put.")
    ] = False,
    quality: Annotated[
        bool, typer.Option("--quality", rich_help_panel=FILM, help="Measure how good the faces are.")
    ] = False,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key and options give the same job, however often it is sent.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="NAME=TEXT", help="A label of the job; can be given again.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay until the job has ended.")] = False,
    get: Annotated[Path | None, typer.Option(help="Stay, and fetch the film as this file.")] = None,
    service: Service,
) -> None:
    """Send a film and faces to a service, with the options of `farm render`; prints the job's id.

    With --cast it stays until the service has looked at the film, and puts the cast then.
    """
    if film.source is None and film.cast is None and film.swapper != "none" and not wait_for_cast:
        raise typer.BadParameter("no source face given: --source, --cast, --wait-for-cast, or --swapper none")
    spec = job_spec(target, Path(output.name) if output is not None else Path("-"), film, analysed=False)
    cast = Cast.read(film.cast) if film.cast is not None else None
    more: dict[str, Any] = {"title": title, "priority": priority, "quality": quality, "labels": labels_of(label or [])}
    more["wait_for_cast"] = wait_for_cast or cast is not None
    if output is None:
        more["output"] = None
    with service_of(service) as farm:
        job = farm.submit_spec(spec, idempotency_key=idempotency_key, **more)
        if cast is not None:
            say(f"{job.id}")
            job = with_cast(farm, job.id, cast)
        if not (watch or get):
            put(job.model_dump_json() + "\n" if service.json else f"{job.id}\n")
            return
        if cast is None:
            say(f"{job.id}")
        ended(follow(farm, job.id), service)
        if get is not None:
            farm.download(job.id, get)


@expand
def status(job: JobId, *, service: Service) -> None:
    """How a job of a service is."""
    with service_of(service) as farm:
        told(farm.job(job), as_json=service.json)


@expand
def jobs(
    *,
    state: Annotated[list[str] | None, typer.Option(help="Only jobs in this state; can be given again.")] = None,
    most: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    service: Service,
) -> None:
    """The jobs of a service."""
    with service_of(service) as farm:
        for number, job in enumerate(farm.jobs(*(state or ()), limit=min(most, 200))):
            if number >= most:
                break
            told(job, as_json=service.json)


@expand
def get(
    job: JobId,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="As which file (default: its own name).")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until the job has ended.")] = False,
    service: Service,
) -> None:
    """Fetch the finished film of a job; a part that is there is gone on with, and the whole is checked."""
    with service_of(service) as farm:
        now = follow(farm, job) if wait else farm.job(job)
        if now.result is None:
            ended(now, service)
        path = output if output is not None else own_name(now)
        made = farm.download(job, path)
    say(f"{made}")


def own_name(job: JobView) -> Path:
    """The result's file in this folder, under the name that the service says: never elsewhere, and never hidden."""
    name = Path(job.result.name).name if job.result is not None else ""
    return Path(name if name.isprintable() and not name.startswith(".") and name else job.id)


@expand
def cancel(job: JobId, *, service: Service) -> None:
    """Stop a job of a service; what was finished is kept for a retry."""
    ask(job, service, lambda farm: farm.cancel(job))


@expand
def pause(job: JobId, *, service: Service) -> None:
    """Set a job of a service aside."""
    ask(job, service, lambda farm: farm.pause(job))


@expand
def resume(job: JobId, *, service: Service) -> None:
    """Go on with a paused job of a service."""
    ask(job, service, lambda farm: farm.resume(job))


@expand
def retry(job: JobId, *, service: Service) -> None:
    """Try a failed or cancelled job of a service again, from what is finished."""
    ask(job, service, lambda farm: farm.retry(job))


@expand
def erase(job: JobId, *, service: Service) -> None:
    """Erase a job of a service: its uploads, faces and result."""
    with service_of(service) as farm:
        farm.erase(job)
    say(f"{job} is erased")


def labels_of(words: list[str]) -> dict[str, str]:
    """Name -> text of words NAME=TEXT."""
    labels = dict[str, str]()
    for word in words:
        name, sign, text = word.partition("=")
        if not (name and sign) or name in labels:
            raise typer.BadParameter(f"--label {word!r}: write NAME=TEXT, each name once")
        labels[name] = text
    return labels


def with_cast(farm: Farm, job: str, cast: Cast) -> JobView:
    """The job when it has its cast, which is put when it waits for one. A job that an idempotency key made before may
    have it already. As `ended` where it came to nothing before."""
    now = follow(farm, job, until=lambda now: now.state == "casting" or now.has_cast)
    if now.state == "casting":
        return cast.put(farm, job)
    if now.finished is not None:
        ended(now, Service())
    return now


def ask(job: str, service: Service, what: Callable[[Farm], JobView]) -> None:
    del job
    with service_of(service) as farm:
        told(what(farm), as_json=service.json)


def follow(farm: Farm, job: str, *, until: Callable[[JobView], bool] | None = None) -> JobView:
    """The job when it has ended, or when `until` says so; how it goes is told on stderr, a line whenever it changed.
    `InputError` where it waits for a cast, with what was wrong with the one that was put."""
    before = ""
    for now in farm.watch(job):
        text = line(now)
        if text != before:
            before = text
            say(f"{text}")
        if until is not None and until(now):
            return now
        if now.state == "casting":
            put_it = f"farm cast {job}, then farm cast {job} --put"
            if now.problem is not None:
                raise InputError(now.problem.detail, where=job, hint=f"{now.problem.next_step}: {put_it}")
            raise InputError("the job waits for its cast", where=job, hint=put_it)
    return farm.job(job)


def watch_remote(job: str, service: Address, *, as_json: bool) -> None:
    """`farm watch JOB` of a service's job; the exit code is the job's."""
    with service_of(service) as farm:
        if as_json:
            for now in farm.watch(job):
                put(now.model_dump_json() + "\n")
            ended(farm.job(job), Service())
        else:
            ended(follow(farm, job), Service())


def ended(job: JobView, service: Service) -> None:
    """Tell how a job ended; a FarmError, with the exit code that `farm render` would have, unless it succeeded."""
    if service.json:
        put(job.model_dump_json() + "\n")
    if job.state != "succeeded":
        problem = job.problem
        what = problem.detail if problem else f"the job is {job.state}"
        raise kind_of(job)(what, where=job.id, hint=problem.next_step if problem else "see farm status")


def kind_of(job: JobView) -> type[FarmError]:
    """What a job that did not succeed is told as: its problem's kind says the exit code."""
    if job.state == "refused":
        return PolicyError
    named = job.problem.kind if job.problem is not None else ""
    codes = {kind.__name__: kind.exit_code for kind in every_kind(FarmError)}
    return next((kind for kind in (InputError, PolicyError) if kind.exit_code == codes.get(named)), FarmError)


def every_kind(kind: type[FarmError]) -> Iterator[type[FarmError]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from every_kind(inner)
