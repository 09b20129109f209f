"""The service on Ray Serve: `serve deploy deploy/serve.yaml` on a cluster, or deploy/kuberay/rayservice.yaml.

Two deployments of one application. `Calls` answers HTTP, in replicas that come and go with the traffic and know
nothing that is not in the database. `Keeper` is one actor with the coordinator, which runs the jobs on the renderers of
the same cluster, and with the sender of webhooks. Either may die at any moment: Serve brings it back, and it goes on
with what the database says. Both are placed where the cluster offers the resource `service`, so that neither holds a
machine with a GPU.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from prometheus_client import CollectorRegistry
from pydantic import BaseModel, ConfigDict, Field
from ray import serve

from core.errors import InputError
from core.niceness import all_go_last
from farm.api.app import make_app, secret_of
from farm.api.context import ApiSettings
from farm.api.counting import Counts
from farm.api.embedded import database_of, first_key
from farm.api.heap import settle
from farm.api.rules import KEEP_AUDIT, check_allowed, check_prefix, quotas_of, retention_of
from farm.desk import make_pool
from farm.paths import place
from farm.service.coordinator import Coordinator
from farm.service.database import Database, open_database, shown
from farm.service.figures import TRIES, OfDatabase
from farm.service.guard import rules_of
from farm.service.places import ServicePlaces
from farm.service.posting import Postman
from farm.settings import RunOptions, load_settings, service_database, size_bytes
from farm.watching.instruments import RayInstruments
from farm.watching.metrics import Metrics

PLACE = {"num_cpus": 0, "resources": {"service": 1}}
LONG_S = 300.0  # a film goes up or down through a call; a replica that goes lets it
STREAM_S = 60.0  # and it waits for event streams too, which would not end by themselves: who watches comes back
WATCHERS, WATCHERS_A_TENANT, UPLOADS = 1000, 100, 400  # of a replica, at once: calls that last
UPLOADS_A_TENANT = 64  # parts are counted here, of which a client sends four at once: sixteen clients of one replica
ONGOING = 4000  # calls of a replica at once: far more, so that those that last leave room for those that do not
GIVE_BACK_S = 75.0  # a coordinator that is ended stops its segments and gives its jobs back


class Args(BaseModel):
    """What `args` of the Serve file says; docs/service.md explains each: they are the options of `farm serve`.

    `data`: s3://BUCKET/PREFIX, or a folder that every node of the cluster sees under this name. `database`:
    postgresql://..., whose password stands in PGPASSWORD, or "" for FARM_DATABASE, in the environment of the nodes that
    offer `service`. SQLite serves one machine and is refused beside more than one replica of the calls. `metrics`:
    whether /metrics is answered, to anybody who reaches the service.
    """

    model_config = ConfigDict(extra="forbid")

    data: str
    database: str = ""
    db_connections: int = Field(default=20, ge=2)
    prefix: str = ""
    allowed_urls: tuple[str, ...] = ()
    bucket_endpoint: str = ""
    keep_jobs: float | None = Field(default=None, ge=0)
    keep_uploads: float | None = Field(default=None, ge=0)
    keep_audit: float | None = Field(default=KEEP_AUDIT, ge=0)
    jobs: int = Field(default=8, ge=1)
    max_upload: str = "512G"
    quotas: tuple[str, ...] = ()
    webhook_networks: tuple[str, ...] = ()
    webhook_ca: str = ""
    workers: int | None = Field(default=None, ge=1)
    max_workers: int | None = Field(default=None, ge=1)
    worker_resources: dict[str, float] | None = None
    device: Literal["auto", "cpu", "cuda", "tensorrt"] = "auto"
    replicas: int = Field(default=4, ge=1)
    min_replicas: int = Field(default=1, ge=1)
    metrics: bool = True


def opened(args: Args) -> tuple[Database, ServicePlaces]:
    """The database, and the places, made where they are not there."""
    places = ServicePlaces(place(args.data))
    url = database_of(places, service_database(args.database))
    places.make()
    return open_database(url, connections=args.db_connections), places


def settings_of(args: Args, places: ServicePlaces) -> ApiSettings:
    """What the operator says of the HTTP side."""
    return ApiSettings(
        prefix=check_prefix(args.prefix),
        allowed_urls=check_allowed(args.allowed_urls),
        most_upload_bytes=size_bytes("max_upload", args.max_upload),
        rules=rules_of(args.webhook_networks, args.webhook_ca),
        bucket_endpoint=args.bucket_endpoint,
        stream_s=STREAM_S,
        watchers=WATCHERS,
        watchers_a_tenant=WATCHERS_A_TENANT,
        uploads_a_tenant=UPLOADS_A_TENANT,
        uploads=UPLOADS,
        metrics=args.metrics,
        in_parts=True,  # Serve's proxy reads a body as fast as it is sent, and keeps what no replica has taken yet
        secret=secret_of(places),
    )


@serve.deployment(ray_actor_options=PLACE, max_ongoing_requests=ONGOING, graceful_shutdown_timeout_s=LONG_S)
@serve.ingress()
class Calls:
    """Answers HTTP."""

    def __init__(self, args: Args, keeper: object) -> None:
        """`keeper` is a handle of the other deployment: naming it here is what makes Serve bring it up."""
        del keeper
        self._args = args
        self._db, self._places = opened(args)

    def __serve_build_asgi_app__(self) -> Any:
        # What this process counts goes out through Ray's agents, because /metrics is answered by any replica; there
        # it is what the tables say, which is the same everywhere.
        registry = CollectorRegistry()
        registry.register(OfDatabase(self._db))
        settings = settings_of(self._args, self._places)
        made = make_app(self._db, self._places, settings, Counts(RayInstruments(), registry))
        settle()
        return made

    def __del__(self) -> None:
        self._db.close()


@serve.deployment(
    ray_actor_options=PLACE, num_replicas=1, health_check_period_s=10, graceful_shutdown_timeout_s=GIVE_BACK_S
)
class Keeper:
    """Runs the jobs. A second one, while Serve replaces the first, waits for the first one's lease to run out."""

    def __init__(self, args: Args) -> None:
        all_go_last()  # it joins and verifies films here
        self._db, places = opened(args)
        first_key(self._db, places, quotas_of(args.quotas))
        settings, instruments = load_settings(), RayInstruments()
        run = RunOptions(
            address="auto",
            workers=args.workers,
            max_workers=args.max_workers,
            worker_resources=args.worker_resources,
            device=args.device,
        )
        self._pool = make_pool(run, settings)
        self._pool.start()
        self._coordinator = Coordinator(
            self._db,
            self._pool,
            places,
            settings,
            run,
            most_jobs=args.jobs,
            metrics=Metrics(instruments),
            retention=retention_of(args.keep_jobs, args.keep_uploads, args.keep_audit),
        )
        rules = rules_of(args.webhook_networks, args.webhook_ca)
        self._postman = Postman(self._db, rules, tried=lambda outcome: instruments.add(TRIES, 1, outcome))
        self._coordinator.start()
        self._postman.start()

    def __del__(self) -> None:
        """Serve calls it before it ends the actor: jobs are given back, and the next Keeper goes on with them."""
        self._coordinator.close()
        self._postman.close()
        self._pool.close()
        self._db.close()


def app(args: Args | dict[str, Any]) -> serve.Application:
    """What `import_path` names; Serve gives the file's `args` as they stand there. `InputError` for a database that
    cannot be shared by that many replicas, more of them at least than at most, or a network that is none."""
    args = Args.model_validate(args)
    url = service_database(args.database)
    if args.replicas > 1 and not url.startswith("postgres"):
        hint = "give postgresql://... in `database` or FARM_DATABASE, or replicas: 1, or use farm serve"
        raise InputError("SQLite serves one machine", where=shown(url) if url else "", hint=hint)
    if args.min_replicas > args.replicas:
        told = f"min_replicas: {args.min_replicas} are more than replicas: {args.replicas}"
        raise InputError(told, hint="replicas is how many there may be, min_replicas how many there are at least")
    # What is wrong is told when the file is deployed, not in a log.
    check_prefix(args.prefix)
    check_allowed(args.allowed_urls)
    quotas_of(args.quotas)
    size_bytes("max_upload", args.max_upload)
    rules_of(args.webhook_networks)
    scaling = {"min_replicas": args.min_replicas, "max_replicas": args.replicas, "target_ongoing_requests": 50}
    calls = cast(Any, Calls).options(autoscaling_config=scaling)
    return cast("serve.Application", calls.bind(args, cast(Any, Keeper).bind(args)))
