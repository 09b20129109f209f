"""The service on Ray Serve: `serve deploy deploy/serve.yaml` on a cluster, or deploy/kuberay/rayservice.yaml.

Two deployments of one application. `Calls` answers HTTP, in replicas that come and go with the traffic and know
nothing that is not in the database. `Keeper` is one actor with the coordinator, which runs the jobs on the renderers of
the same cluster, and with the sender of webhooks. Either may die at any moment: Serve brings it back, and it goes on
with what the database says. Both are placed where the cluster offers the resource `service`, so that neither holds a
machine with a GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field
from ray import serve

from core.errors import InputError
from farm.api.app import make_app, secret_of
from farm.api.context import ApiSettings
from farm.api.embedded import first_key
from farm.desk import make_pool
from farm.service.coordinator import Coordinator
from farm.service.database import Database, open_database
from farm.service.places import ServicePlaces
from farm.service.posting import Postman
from farm.settings import RunOptions, load_settings

PLACE = {"num_cpus": 0, "resources": {"service": 1}}
LONG_S = 300.0  # a film goes up or down through a call; a replica that goes lets it


class Args(BaseModel):
    """What `args` of the Serve file says. `data`: a folder that every node of the cluster sees under this name.

    `database`: postgresql://...; SQLite serves one machine and is refused beside more than one replica of the calls.
    """

    model_config = ConfigDict(extra="forbid")

    data: str
    database: str
    prefix: str = ""
    allowed_urls: tuple[str, ...] = ()
    jobs: int = Field(default=8, ge=1)
    max_workers: int | None = Field(default=None, ge=1)
    replicas: int = Field(default=4, ge=1)


def opened(args: Args) -> tuple[Database, ServicePlaces]:
    """The database, and the places, made where they are not there."""
    places = ServicePlaces(Path(args.data))
    places.make()
    return open_database(args.database), places


@serve.deployment(ray_actor_options=PLACE, max_ongoing_requests=400, graceful_shutdown_timeout_s=LONG_S)
@serve.ingress()
class Calls:
    """Answers HTTP."""

    def __init__(self, args: Args, keeper: object) -> None:
        """`keeper` is a handle of the other deployment: naming it here is what makes Serve bring it up."""
        del keeper
        self._args = args
        self._db, self._places = opened(args)

    def __serve_build_asgi_app__(self) -> Any:
        settings = ApiSettings(
            prefix=self._args.prefix,
            allowed_urls=self._args.allowed_urls,
            secret=secret_of(self._places.root),
        )
        return make_app(self._db, self._places, settings)

    def __del__(self) -> None:
        self._db.close()


@serve.deployment(ray_actor_options=PLACE, num_replicas=1, health_check_period_s=10)
class Keeper:
    """Runs the jobs. A second one, while Serve replaces the first, waits for the first one's lease to run out."""

    def __init__(self, args: Args) -> None:
        self._db, places = opened(args)
        first_key(self._db, places.root)
        settings = load_settings()
        run = RunOptions(address="auto", max_workers=args.max_workers)
        self._pool = make_pool(run, settings)
        self._pool.start()
        self._coordinator = Coordinator(self._db, self._pool, places, settings, run, most_jobs=args.jobs)
        self._postman = Postman(self._db)
        self._coordinator.start()
        self._postman.start()

    def __del__(self) -> None:
        """Serve calls it before it ends the actor: jobs are given back, and the next Keeper goes on with them."""
        self._postman.close()
        self._coordinator.close()
        self._pool.close()
        self._db.close()


def app(args: Args) -> serve.Application:
    """What `import_path` names. `InputError` for a database that cannot be shared by that many replicas."""
    if args.replicas > 1 and not args.database.startswith("postgresql"):
        hint = "give postgresql://..., or replicas: 1, or use farm serve"
        raise InputError("SQLite serves one machine", where=args.database, hint=hint)
    scaling = {"min_replicas": 1, "max_replicas": args.replicas, "target_ongoing_requests": 50}
    calls = cast(Any, Calls).options(autoscaling_config=scaling)
    return cast("serve.Application", calls.bind(args, cast(Any, Keeper).bind(args)))
