"""Rules for cluster files of Google Cloud."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from farm.clusterfile.findings import Finding, mapping, number, texts
from farm.clusterfile.launcher import INITIAL, workers


def gcp_faults(document: dict[str, Any]) -> Iterator[Finding]:
    """What a project or its owner would regret."""
    provider = mapping(document.get("provider"))
    if provider.get("cache_stopped_nodes", True):
        yield Finding("provider.cache_stopped_nodes", "stopped machines cost their disks", "write False")
    if not str(provider.get("availability_zone")).startswith(f"{provider.get('region')}-"):
        yield Finding("provider.availability_zone", "not of the region", "one zone of it")
    if not mapping(document.get("auth")).get("ssh_private_key"):
        yield Finding("auth.ssh_private_key", "Ray would put a key on every machine of the project", "a key of its own")
    if not any("chmod" in command and "ray_tmp_mount" in command for command in texts(document.get(INITIAL))):
        # SSH's user is whoever Google's images have a number left for, and that of the container is 1000.
        hint = "chmod -R go+rX of what file_mounts brought, as in deploy/gcp/cluster.yaml"
        yield Finding(INITIAL, "the container cannot read its token", hint)
    for name, kind in mapping(document.get("available_node_types")).items():
        config = mapping(mapping(kind).get("node_config"))
        yield from _machine(f"available_node_types.{name}.node_config", config)
    yield from _accounts(document)
    yield from _markets(document)


def _machine(where: str, config: dict[str, Any]) -> Iterator[Finding]:
    if not config.get("serviceAccounts"):
        yield Finding(f"{where}.serviceAccounts", "Ray's own account or the project's", "an account of its own")
    if not config.get("networkInterfaces"):
        # ray/autoscaler/_private/gcp/config.py, _configure_subnet
        yield Finding(f"{where}.networkInterfaces", "Ray takes the first network of the region", "the farm's own")
    items = mapping(config.get("metadata")).get("items")
    keys = {mapping(item).get("key"): mapping(item).get("value") for item in items} if isinstance(items, list) else {}
    if str(keys.get("block-project-ssh-keys")).upper() != "TRUE":
        yield Finding(f"{where}.metadata", "everybody with a key of the project", "block-project-ssh-keys: TRUE")
    if not keys.get("ssh-keys"):
        yield Finding(f"{where}.metadata", "Ray cannot reach the machine", "ssh-keys: user and public key")


def _accounts(document: dict[str, Any]) -> Iterator[Finding]:
    types = mapping(document.get("available_node_types"))
    head = _emails(types.get(str(document.get("head_node_type"))))
    for name, kind in workers(document).items():
        if head & _emails(kind):
            where = f"available_node_types.{name}.node_config.serviceAccounts"
            yield Finding(where, "workers that may launch machines", "an account of their own")


def _emails(kind: object) -> set[str]:
    accounts = mapping(mapping(kind).get("node_config")).get("serviceAccounts")
    return {str(mapping(account).get("email")) for account in accounts} if isinstance(accounts, list) else set()


def _scheduling(kind: dict[str, Any]) -> dict[str, Any]:
    return mapping(mapping(kind.get("node_config")).get("scheduling"))


def _markets(document: dict[str, Any]) -> Iterator[Finding]:
    kinds = workers(document)
    priorities: dict[bool, list[float]] = {True: [], False: []}
    for name, kind in kinds.items():
        where = f"available_node_types.{name}"
        scheduling = _scheduling(kind)
        spot = scheduling.get("provisioningModel") == "SPOT"
        priorities[spot].append(number(kind.get("priority")))
        if scheduling.get("onHostMaintenance") != "TERMINATE":
            hint = "onHostMaintenance: TERMINATE, as an object and not a list"
            yield Finding(f"{where}.node_config.scheduling", "machines with a GPU cannot be moved", hint)
        if spot and scheduling.get("instanceTerminationAction") != "DELETE":
            yield Finding(
                f"{where}.node_config.scheduling", "stopped and paid for", "instanceTerminationAction: DELETE"
            )
        said, is_ = mapping(kind.get("labels")).get("market"), "spot" if spot else "on-demand"
        if said != is_:
            yield Finding(f"{where}.labels.market", f"says {said}", f"write {is_}")
    if not priorities[True] or not priorities[False]:
        yield Finding("available_node_types", "spot alone, or none", "spot types, and one on demand to fall back on")
    elif max(priorities[False]) >= min(priorities[True]):
        yield Finding("available_node_types", "on demand before spot", "a lower priority for types on demand")
