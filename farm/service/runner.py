"""One job on a thread: from its row to its film, and what becomes of the row at the end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from actors.drive import Terms, unexpected
from core.errors import FarmError, InputError, Interrupted, PlanError, PolicyError, WorkerLost
from core.records import JobReport, JobSpec
from farm.analyse_job import AnalyseSpec
from farm.analysis import Looking
from farm.castdir import CAST
from farm.cost.prices import Prices
from farm.cost.spending import machine_of
from farm.driver import run_job
from farm.listeners import Together
from farm.paths import place
from farm.ports import Pool
from farm.service import held, jobs, keys
from farm.service.clearing import remove_file
from farm.service.database import Database
from farm.service.errors import LeaseLost, OverQuota, Unreachable
from farm.service.leasing import Taken
from farm.service.mirror import Mirror
from farm.service.places import ServicePlaces
from farm.service.records import Problem, Result
from farm.service.resolving import resolve, resolve_cast, uploads_of_job
from farm.service.rows import order_of
from farm.settings import RunOptions, Settings
from farm.sheet.job import SheetSpec, make_sheet
from farm.store.whole import put_whole
from farm.watching.metrics import Metrics, counted

log = logging.getLogger("farm.service")
Why = Literal["", "obey", "lost", "over quota", "displaced"]
BUSY = "another run works on this job"  # as farm.store says it: a coordinator that lost the job still holds its files
MOST_LOSSES = 3  # runs, one after the other, that ended with the pool or too many of its renderers and got no further
WAIT_MS = 10_000  # before a job is tried again that could not go on for the farm's own reasons
RETRY_S = 0.5


@dataclass(frozen=True)
class House:
    """What all jobs of a coordinator share."""

    db: Database
    pool: Pool
    places: ServicePlaces
    settings: Settings
    run: RunOptions
    prices: Prices
    metrics: Metrics | None = None


class Runner:
    """Runs one job that was taken. `halt` ends it from any thread; `tell` writes down how it goes."""

    def __init__(
        self,
        house: House,
        taken: Taken,
        weight: float,
        *,
        most_segments: int | None = None,
        after: Runner | None = None,
    ) -> None:
        """`most_segments`: what the tenant's jobs may have at once. `after`: a runner of the same job that still winds
        up."""
        self.held, self.row = taken.held, taken.row
        self.name = f"{taken.held.job}/{taken.held.epoch}"
        self._house = house
        self._terms = Terms(self.name, weight=weight, group=taken.held.tenant, most=most_segments)
        self._after = after
        self._asked = asked = taken.row.asked
        title = (asked.spec.target, asked.spec.output) if asked is not None else ("", "")
        self.mirror = Mirror(*title, house.prices, machine_of(house.settings.cores))
        self._why: Why = ""
        self._over: Problem | None = None  # why the film cannot be the result
        self._since_s = time.monotonic()
        self._given_up = threading.Event()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._main, name=self.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def halted(self) -> bool:
        """Whether it was told to end."""
        return self._why != ""

    @property
    def held_ms(self) -> int:
        """For how long the job has its place."""
        return round(1000 * (time.monotonic() - self._since_s))

    def join(self, timeout_s: float | None = None) -> None:
        self._thread.join(timeout_s)

    def halt(self, why: Why, error: FarmError | None = None, *, finish: bool = False) -> None:
        """End the run: to `obey` a wish or the coordinator's end, because the job is `lost`, `over quota`, or
        `displaced` by a job of a tenant that has no place."""
        if self._why:
            return
        self._why = why
        told = error or Interrupted("the job was stopped")
        self.mirror.stop(told, finish=finish)
        self._house.pool.stop(self.name, told, finish=finish)
        if why == "lost":
            self._given_up.set()

    def give_up(self) -> None:
        """Write nothing more, whether the database answers or not: the lease runs out."""
        self._given_up.set()

    def tell(self) -> None:
        """Write down what is new. `LeaseLost` and `Unreachable` as the database says."""
        with self._writing:
            told = self.mirror.tell()
            for state in told.states:
                held.stage(self._house.db, self.held, state)
            held.report(
                self._house.db,
                self.held,
                progress=told.progress,
                spent=told.spent,
                segments=told.segments,
                events=told.events,
            )
            self.mirror.confirm(told)

    # ------------------------------------------------------------ the thread

    def _main(self) -> None:
        if self._after is not None:
            self._after.join()
        try:
            end = self._work()
        except FarmError as error:
            end = self._ended(error)
        except BaseException as error:  # a thread has no caller: whatever ends it must reach the row
            end = self._ended(unexpected(error))
        self._write_down(self.tell)
        self._write_down(end)

    def _work(self) -> Callable[[], None]:
        """Do the job; what to write at its end."""
        house, job_id, order = self._house, self.held.job, order_of(self.row)
        if order is None:
            raise PlanError("the job has no order")
        spec = resolve(house.db, house.places, job_id, order)
        folder = house.places.cast_folder(job_id)
        house.places.result(job_id, order.spec.output).parent.mkdir(parents=True, exist_ok=True)
        toml = jobs.cast_of(house.db, self.held.tenant, job_id) if self.row.has_cast else None
        if order.wait_for_cast and (toml is None or not (folder / CAST).exists()):
            sheet = SheetSpec(AnalyseSpec(place(spec.target), folder, Looking.of(spec), spec.on_damage), force=True)
            with counted(house.metrics) as counting:
                heard = Together(self.mirror, *counting)
                make_sheet(sheet, self._run(), house.settings, heard, pool=house.pool, terms=self._terms)
            if toml is None:
                return lambda: held.wait_for_cast(house.db, self.held)
        if toml is not None:
            spec = self._with_cast(spec, toml)
        run = replace(self._run(), store=house.places.store(job_id), keep=True, quality=order.quality)
        report = run_job(
            spec, run, house.settings, self.mirror, pool=house.pool, terms=self._terms, metrics=house.metrics
        )
        return lambda: self._succeed(report)

    def _run(self) -> RunOptions:
        """How the tenant's jobs run: no film is longer than the quota says, wherever it lies."""
        quota = keys.tenant(self._house.db, self.held.tenant).quota
        return replace(self._house.run, longest_s=quota.film_s)

    def _with_cast(self, spec: JobSpec, toml: str) -> JobSpec:
        """`spec` with the cast that was put, beside the analysis that it is of."""
        job_id = self.held.job
        file = self._house.places.cast_folder(job_id) / CAST
        if not file.parent.is_dir():
            told = "a cast was put, but nobody looked for the people of the film"
            raise InputError(told, where=job_id, hint="submit the job with wait_for_cast")
        put_whole(file, resolve_cast(toml, uploads_of_job(self._house.db, job_id)).encode())
        return replace(spec, cast=str(file), source=None, reference=None, select="largest")

    def _succeed(self, report: JobReport) -> None:
        """The film is the job's result. One that has no room is refused, also when that is written at a later try and
        there is room by then; it is removed when that is written, so that no job has succeeded without its film."""
        name = self._asked.spec.output if self._asked is not None else ""
        result = Result(name, report.output, report.output_sha256, report.output_bytes)
        if self._over is None:
            try:
                held.succeed(self._house.db, self.held, result, report)
                return
            except OverQuota as error:
                told = (
                    f"the film is finished and has {result.size_bytes} bytes, for which there is no room: {error.what}"
                )
                hint = f"{error.hint}, then retry the job: nothing is rendered again"
                self._over = Problem("OverQuota", told, hint=hint)
        held.fail(self._house.db, self.held, self._over, refused=True)
        try:
            remove_file(report.output)
        except FarmError as failed:  # it goes with the job
            log.error("the film of %s stays for now: %s", self.name, failed)

    def _ended(self, error: FarmError) -> Callable[[], None]:
        """What to write of a job that ended with `error`."""
        db, asked = self._house.db, self._asked
        root = f"{self._house.places.root}/"
        what, hint = (text.replace(root, "") for text in (error.what, error.hint))
        problem = Problem(type(error).__name__, what, _hidden(error.where, root), hint, error.exit_code)
        if self._why == "over quota":
            return lambda: held.fail(db, self.held, problem, refused=True)
        if self._why or isinstance(error, Interrupted):
            return lambda: held.give_back(db, self.held)
        if isinstance(error, WorkerLost):
            return lambda: held.lose(db, self.held, problem, most=MOST_LOSSES, wait_ms=WAIT_MS)
        if isinstance(error, LeaseLost | Unreachable) or error.what == BUSY:
            return lambda: held.give_back(db, self.held, wait_ms=WAIT_MS)
        of_cast = self.row.has_cast and self.mirror.at == "cast"
        if isinstance(error, InputError) and of_cast and asked is not None and asked.wait_for_cast:
            return lambda: held.wait_for_cast(db, self.held, problem)
        return lambda: held.fail(db, self.held, problem, refused=isinstance(error, PolicyError))

    def _write_down(self, write: Callable[[], None]) -> None:
        """Write until the database took it, the job is lost, or the coordinator gives up."""
        while not self._given_up.is_set():
            try:
                write()
                return
            except LeaseLost:
                self._given_up.set()
            except Unreachable:
                time.sleep(RETRY_S)
            except FarmError as error:  # the coordinator gives the job back
                log.error("%s: %s", self.name, error)
                return


def _hidden(where: str, root: str) -> str:
    """Where something is, as a tenant may read it: without the server's folders. `root` ends with a slash."""
    return where.rsplit("/", 1)[-1] if where.startswith(("/", root)) else where
