"""Rules for cluster files of AWS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from farm.clusterfile.findings import Finding, mapping, number
from farm.clusterfile.launcher import workers


def aws_faults(document: dict[str, Any]) -> Iterator[Finding]:
    """What an account or its owner would regret."""
    provider = mapping(document.get("provider"))
    if provider.get("cache_stopped_nodes", True):
        yield Finding("provider.cache_stopped_nodes", "spot machines cannot be stopped, only ended", "write False")
    zones = {zone.strip() for zone in str(provider.get("availability_zone", "")).split(",") if zone.strip()}
    if len(zones) < 2:
        yield Finding("provider.availability_zone", "spot runs dry zone by zone", "several, with commas between")
    if any(not zone.startswith(str(provider.get("region"))) for zone in zones):
        yield Finding("provider.availability_zone", "a zone of another region", f"zones of {provider.get('region')}")
    for name, kind in mapping(document.get("available_node_types")).items():
        yield from _machine(f"available_node_types.{name}.node_config", mapping(mapping(kind).get("node_config")))
    yield from _roles(document)
    yield from _markets(document)


def _machine(where: str, config: dict[str, Any]) -> Iterator[Finding]:
    if not config.get("IamInstanceProfile"):
        # Without one the head gets Ray's own, which may do everything with EC2 and S3.
        yield Finding(f"{where}.IamInstanceProfile", "no role of its own", "{Name: ...}, of deploy/aws/foundation.yaml")
    options = mapping(config.get("MetadataOptions"))
    if options.get("HttpTokens") != "required":
        yield Finding(f"{where}.MetadataOptions", "the role's keys for any request", "{HttpTokens: required}: IMDSv2")
    if not (config.get("SecurityGroupIds") or config.get("LaunchTemplate") or config.get("NetworkInterfaces")):
        # ray/autoscaler/_private/aws/config.py, _create_default_ssh_inbound_rules
        yield Finding(f"{where}.SecurityGroupIds", "Ray opens port 22 to the internet", "name groups or a template")
    disks = config.get("BlockDeviceMappings")
    if not isinstance(disks, list) or not disks:
        yield Finding(f"{where}.BlockDeviceMappings", "the disk of the AMI's size, not encrypted", "write it")
        return
    for place, disk in enumerate(disks):
        volume = mapping(mapping(disk).get("Ebs"))
        if not (volume.get("Encrypted") and volume.get("DeleteOnTermination", True)):
            hint = "Encrypted: true, DeleteOnTermination: true"
            yield Finding(f"{where}.BlockDeviceMappings[{place}].Ebs", "frames of a film left on a disk", hint)


def _roles(document: dict[str, Any]) -> Iterator[Finding]:
    types = mapping(document.get("available_node_types"))
    head = _profile(types.get(str(document.get("head_node_type"))))
    for name, kind in workers(document).items():
        if head is not None and _profile(kind) == head:
            where = f"available_node_types.{name}.node_config.IamInstanceProfile"
            yield Finding(where, "workers that may launch machines", "a role of their own")


def _profile(kind: object) -> object:
    return mapping(mapping(kind).get("node_config")).get("IamInstanceProfile")


def _spot(kind: dict[str, Any]) -> bool:
    market = mapping(mapping(kind.get("node_config")).get("InstanceMarketOptions"))
    return market.get("MarketType") == "spot"


def _markets(document: dict[str, Any]) -> Iterator[Finding]:
    """Spot first, something to fall back on, and labels that say which is which (the price depends on it)."""
    kinds = workers(document)
    spot = [number(kind.get("priority")) for kind in kinds.values() if _spot(kind)]
    bought = [number(kind.get("priority")) for kind in kinds.values() if not _spot(kind)]
    if not spot:
        yield Finding("available_node_types", "no spot workers", "InstanceMarketOptions: {MarketType: spot}")
    if not bought:
        yield Finding("available_node_types", "nothing to fall back on", "a type on demand, with the lowest priority")
    if spot and bought and max(bought) >= min(spot):
        yield Finding("available_node_types", "on demand before spot", "a lower priority for types on demand")
    for name, kind in kinds.items():
        if mapping(kind.get("node_config")).get("InstanceInitiatedShutdownBehavior") != "terminate":
            where = f"available_node_types.{name}.node_config.InstanceInitiatedShutdownBehavior"
            yield Finding(where, "a worker that shuts itself down keeps its disk", "terminate")
        said, is_ = mapping(kind.get("labels")).get("market"), "spot" if _spot(kind) else "on-demand"
        if said != is_:
            yield Finding(f"available_node_types.{name}.labels.market", f"says {said}", f"write {is_}")
    head = mapping(mapping(document.get("available_node_types")).get(str(document.get("head_node_type"))))
    if _spot(head):
        where = f"available_node_types.{document.get('head_node_type')}"
        yield Finding(where, "the head on spot", "on demand: it is the run")
