"""`farm tenant`: who may use a service, and how much of it; for its operator, who reaches its database."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from farm.cli.expand import expand
from farm.cli.out import put
from farm.cli.serve import State

if TYPE_CHECKING:
    from farm.service.database import Database
    from farm.service.records import TenantRow

DAY_MS = 86_400_000
DEFAULT_SCOPES = ("jobs:read", "jobs:write")
app = typer.Typer(no_args_is_help=True, help="Tenants of a service: their quotas and keys, in its database.")

TenantId = Annotated[str, typer.Argument(metavar="TENANT", help="Its id: a to z, 0 to 9 and hyphens.")]
Quota = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=NUMBER", help="As in farm serve: film_s=3600, stored_bytes=500G, gpu_s=none."),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error below its line.")]


@contextmanager
def database(state: State) -> Iterator[Database]:
    """The service's database; it is made where there is none yet, as `farm serve` does."""
    from farm.api.embedded import database_of  # noqa: PLC0415 - loads what HTTP needs
    from farm.service.database import open_database  # noqa: PLC0415
    from farm.service.places import ServicePlaces  # noqa: PLC0415

    with open_database(database_of(ServicePlaces(state.data), state.database), connections=2) as db:
        yield db


def line(row: TenantRow, *, as_json: bool = False) -> str:
    from farm.api.rules import quota_texts  # noqa: PLC0415

    if as_json:
        quota = dict(text.split("=") for text in quota_texts(row.quota))
        told = {name: None if value == "none" else int(value) for name, value in quota.items()}
        return json.dumps({"id": row.id, "name": row.name, "quota": told})
    return f"{row.id} {row.name!r} {' '.join(quota_texts(row.quota))}"


@app.command("list")
@expand
def listed(
    *,
    state: State,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
    debug: Debug = False,
) -> None:
    """The tenants and their quotas."""
    del debug
    from farm.service import keys  # noqa: PLC0415

    with database(state) as db:
        for row in keys.tenants(db):
            put(line(row, as_json=as_json) + "\n")


@app.command()
@expand
def make(
    tenant: TenantId,
    *,
    name: Annotated[str, typer.Option(help="What it is called (default: its id).")] = "",
    quota: Quota = None,
    state: State,
    debug: Debug = False,
) -> None:
    """A new tenant; prints a key of it that may everything there."""
    del debug
    from farm.api.rules import apply_quotas, quotas_of  # noqa: PLC0415
    from farm.service import keys  # noqa: PLC0415
    from farm.service.records import SCOPES  # noqa: PLC0415

    wanted = quotas_of(quota or ())
    with database(state) as db:
        keys.make_tenant(db, name or tenant, tenant_id=tenant)
        apply_quotas(db, tenant, wanted)
        put(keys.make_key(db, tenant, "first key", SCOPES).secret + "\n")


@app.command("quota")
@expand
def change(tenant: TenantId, *, quota: Quota = None, state: State, debug: Debug = False) -> None:
    """Change a tenant's quota; without --quota, show it."""
    del debug
    from farm.api.rules import apply_quotas, quotas_of  # noqa: PLC0415
    from farm.service import keys  # noqa: PLC0415

    wanted = quotas_of(quota or ())
    with database(state) as db:
        apply_quotas(db, tenant, wanted)
        put(line(keys.tenant(db, tenant)) + "\n")


@app.command()
@expand
def key(
    tenant: TenantId,
    *,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "key",
    scope: Annotated[list[str] | None, typer.Option(help="What it may; can be given again.")] = None,
    expires: Annotated[float | None, typer.Option(min=0, metavar="DAYS", help="Good for so long.")] = None,
    state: State,
    debug: Debug = False,
) -> None:
    """Print a new key of a tenant; it is shown this once."""
    del debug
    from farm.service import keys  # noqa: PLC0415

    with database(state) as db:
        keys.tenant(db, tenant)
        expires_ms = None if expires is None else round(time.time() * 1000 + expires * DAY_MS)
        made = keys.make_key(db, tenant, name, tuple(scope or DEFAULT_SCOPES), expires_ms=expires_ms)  # type: ignore[arg-type]
        put(made.secret + "\n")


@app.command()
@expand
def revoke(
    tenant: TenantId,
    key_id: Annotated[str, typer.Argument(metavar="KEYID", help="The ten letters behind farm_ of the key.")],
    *,
    state: State,
    debug: Debug = False,
) -> None:
    """End a key now."""
    del debug
    from farm.service import keys  # noqa: PLC0415

    with database(state) as db:
        keys.revoke(db, tenant, key_id)
