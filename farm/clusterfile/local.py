"""Rules for cluster files of machines that one has (`provider: {type: local}`).

Ray knows one kind of node there and asks each machine itself what it has, so there are no node types to compare. What
goes wrong instead: addresses, ports and shells, and a timeout that is meant for machines that cost money.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from farm.clusterfile.findings import Finding, mapping, texts
from farm.clusterfile.launcher import schema_faults

HEAD, WORKER = "head_start_ray_commands", "worker_start_ray_commands"
SETUP = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
KINDS = ("available_node_types", "head_node_type", "head_node", "worker_nodes")  # ray's local/config.py refuses them
DAY_MINUTES = 24 * 60
PLAIN = re.compile(r"[A-Za-z0-9._-]+")
PATH = re.compile(r"~?[A-Za-z0-9._/+@%=,:-]*")  # what no shell takes apart; `~` as its first letter alone
RESOURCES = re.compile(r"--(num-cpus|num-gpus|resources)\b")


def local_faults(document: dict[str, Any], ray_version: str) -> Iterator[Finding]:
    """What keeps machines from joining, or lets others in."""
    del ray_version  # nothing in the file says which Ray the machines have
    addresses = list(_addresses(mapping(document.get("provider"))))
    kinds = [Finding(key, "Ray knows one kind of node here", "take it away") for key in KINDS if key in document]
    yield from addresses
    yield from kinds
    if not addresses and not kinds:  # Ray's own words for those are an abort
        yield from schema_faults(document)
    yield from _counts(document)
    yield from _names(document)
    yield from _starts(document)
    yield from _token(document)


def _addresses(provider: dict[str, Any]) -> Iterator[Finding]:
    if "coordinator_address" in provider:
        told = "Ray's coordinator server lends machines to whoever asks"
        yield Finding("provider.coordinator_address", told, "head_ip and worker_ips instead")
        return
    head, others = provider.get("head_ip"), provider.get("worker_ips")
    if not isinstance(head, str):
        yield Finding("provider.head_ip", "not written", "the address of the machine that is the head")
    if not isinstance(others, list):
        yield Finding("provider.worker_ips", "not written", "the addresses of the other machines, [] where none is")
        return
    named = [("provider.head_ip", head), *((f"provider.worker_ips[{at}]", each) for at, each in enumerate(others))]
    seen: set[str] = set()
    for where, each in named:
        if where != "provider.head_ip" and not isinstance(each, str):
            yield Finding(where, f"{each!r} is no address", "in quotes where it is a number")
        elif isinstance(each, str) and not PLAIN.fullmatch(each):
            yield Finding(where, f"{each!r} is no address", "a name or a number, without a port")
        elif isinstance(each, str) and each in seen:
            yield Finding(where, f"{each} is there twice", "every machine once; the head is none of the others")
        seen.add(str(each))
    if others and isinstance(head, str) and _is_this_machine(head):
        yield Finding("provider.head_ip", f"{head} is another machine on each machine", "its address in your network")


def _is_this_machine(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _counts(document: dict[str, Any]) -> Iterator[Finding]:
    others = mapping(document.get("provider")).get("worker_ips")
    there = len(others) if isinstance(others, list) else 0
    for key in ("min_workers", "max_workers"):
        if key in document and document[key] != there:
            yield Finding(key, f"{document[key]}, of {there} machines", "leave it out: then all of them are used")
    idle = document.get("idle_timeout_minutes")
    if not isinstance(idle, int | float) or idle < DAY_MINUTES:
        told = f"Ray ends on machines that rest for {5 if idle is None else idle} minutes, which saves nothing here"
        yield Finding("idle_timeout_minutes", told, "525600, a year")


def _names(document: dict[str, Any]) -> Iterator[Finding]:
    """What Ray writes into command lines without quotes, and who logs in."""
    auth = mapping(document.get("auth"))
    user, key = auth.get("ssh_user"), auth.get("ssh_private_key")
    for where, name in (("cluster_name", document.get("cluster_name")), ("auth.ssh_user", user)):
        if not isinstance(name, str) or not PLAIN.fullmatch(name):
            yield Finding(where, f"{name!r} would be taken apart by a shell", "letters, digits, full stops, hyphens")
    if user == "root":
        yield Finding("auth.ssh_user", "films are opened by a program that may do everything", "a user of the farm's")
    if not isinstance(key, str) or not key:
        yield Finding("auth.ssh_private_key", "not written", "the file with the key, which the head uses too")
    elif key.endswith(".pub"):
        yield Finding("auth.ssh_private_key", "the public half of the key", key.removesuffix(".pub"))
    paths = [("auth.ssh_private_key", key or "")]
    paths += [("file_mounts", each) for pair in mapping(document.get("file_mounts")).items() for each in pair]
    for where, path in paths:
        if not isinstance(path, str) or not PATH.fullmatch(path):
            yield Finding(where, f"{path!r} would be taken apart by a shell", "a path of letters, digits and ._/-")


def _starts(document: dict[str, Any]) -> Iterator[Finding]:
    """The head's command and the others', which have to find each other."""
    ports = {}
    for key in (HEAD, WORKER):
        commands = texts(document.get(key))
        starts = [number for number, command in enumerate(commands) if "ray start" in command]
        if not starts:
            if key == HEAD or mapping(document.get("provider")).get("worker_ips"):
                yield Finding(key, "no Ray is started", "ray stop and ray start, as in cluster-local.yaml")
            continue
        words = commands[starts[0]]
        if not any("ray stop" in command for command in commands[: starts[0]]):
            yield Finding(key, "a second `ray up` meets the Ray of the first one", "ray stop before it")
        ports[key] = re.search(r"--port[= ](\d+)" if key == HEAD else r"--address[= ]\S+:(\d+)", words)
        if key == HEAD:
            yield from _head(words)
        elif not re.search(r"--address[= ]['\"]?\$\{?RAY_HEAD_IP\b", words):
            yield Finding(key, "machines that look for their head elsewhere", "--address=$RAY_HEAD_IP:6379")
        if given := RESOURCES.search(words if key == WORKER else ""):
            told = f"{given.group()} is said for all machines, whatever they have"
            yield Finding(key, told, "leave it out: every machine looks itself")
    if len(ports) == len((HEAD, WORKER)):
        head, other = (found.group(1) if found else None for found in (ports[HEAD], ports[WORKER]))
        if head is None or head != other:
            yield Finding(WORKER, f"port {other}, and the head's is {head or 'not written'}", "one port in both")


def _head(words: str) -> Iterator[Finding]:
    if "--dashboard-host=127.0.0.1" not in words:
        yield Finding(HEAD, "a dashboard for everybody", "--dashboard-host=127.0.0.1")
    if "--autoscaling-config=~/ray_bootstrap_config.yaml" not in words:
        yield Finding(HEAD, "nobody starts Ray on the others", "--autoscaling-config=~/ray_bootstrap_config.yaml")
    if "RAY_enable_autoscaler_v2=0" not in words:
        told = "Ray 2.60's newer autoscaler takes the head of such a cluster for lost"
        yield Finding(HEAD, told, "export RAY_enable_autoscaler_v2=0; before it")


def _token(document: dict[str, Any]) -> Iterator[Finding]:
    """What Ray's commands find in their environment: ~/.bashrc is read before each, or they say it themselves."""
    said = " ".join(command for key in (*SETUP, HEAD, WORKER) for command in texts(document.get(key)))
    if "RAY_AUTH_MODE=token" not in said:
        yield Finding("setup_commands", "a Ray that obeys everybody", "RAY_AUTH_MODE=token, as in cluster-local.yaml")
    path = re.search(r"RAY_AUTH_TOKEN_PATH=([^\s'\";]+)", said)
    if path is None:
        yield Finding("setup_commands", "no token", "RAY_AUTH_TOKEN_PATH=FILE, of a folder in file_mounts")
        return
    folder = path.group(1).rpartition("/")[0]
    if folder not in {str(mount).rstrip("/") for mount in mapping(document.get("file_mounts"))}:
        yield Finding("file_mounts", f"nothing brings {path.group(1)} to the machines", "the folder of the token")
