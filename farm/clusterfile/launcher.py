"""Rules for files of Ray's cluster launcher (`ray up FILE`), whatever the cloud."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from farm.clusterfile.findings import VIDEO_CAPABILITIES, Finding, mapping, number, setting, texts, wrong_tag

BOOTS = 2  # an idle timeout below two boot times ends nodes that have just come (ray-project/ray#50783)
INITIAL = "initialization_commands"
COMMANDS = ("setup_commands", "head_setup_commands", "worker_setup_commands")


def workers(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The node types that Ray may launch by itself: all but the head's."""
    types = mapping(document.get("available_node_types"))
    return {name: mapping(kind) for name, kind in types.items() if name != document.get("head_node_type")}


def schema_faults(document: dict[str, Any]) -> Iterator[Finding]:
    """What the installed Ray's own reading of the file refuses. Private functions of Ray, which is why it is pinned."""
    from jsonschema import ValidationError  # noqa: PLC0415 - loads Ray
    from ray.autoscaler._private.util import prepare_config, validate_config  # noqa: PLC0415

    try:
        validate_config(prepare_config(copy.deepcopy(document)))
    except ValidationError as error:
        yield Finding(".".join(str(part) for part in error.absolute_path) or "the file", error.message, "correct it")
    except Exception as error:  # Ray's reader trusts the file: what it trips over can be of any class
        reason = " ".join(str(error).split()) or type(error).__name__
        yield Finding("the file", f"Ray refuses it: {reason}", "correct it")


def launcher_faults(document: dict[str, Any], ray_version: str) -> Iterator[Finding]:
    """Every rule of this module."""
    yield from schema_faults(document)
    yield from _head(document)
    yield from _workers(document)
    yield from _times(document)
    yield from _container(mapping(document.get("docker")), ray_version)
    yield from _token(document)
    yield from _commands(document)


def _head(document: dict[str, Any]) -> Iterator[Finding]:
    name = str(document.get("head_node_type"))
    head = mapping(mapping(document.get("available_node_types")).get(name))
    resources = mapping(head.get("resources"))
    where = f"available_node_types.{name}"
    if resources.get("CPU") != 0 or resources.get("GPU", 0):
        yield Finding(f"{where}.resources", "renderers may land on the head", 'write {"CPU": 0}')
    if head.get("max_workers", 0):
        yield Finding(f"{where}.max_workers", "workers of the head's type", "write 0")


def _workers(document: dict[str, Any]) -> Iterator[Finding]:
    kinds = workers(document)
    if not kinds:
        yield Finding("available_node_types", "nobody would render", "add a type for workers")
        return
    # Extra keys weigh in Ray's score as much as others: any difference decides before `priority` is asked.
    resources = {name: mapping(kind.get("resources")) for name, kind in kinds.items()}
    first = next(iter(resources.values()))
    for name, some in resources.items():
        where = f"available_node_types.{name}"
        if some != first:
            yield Finding(f"{where}.resources", "not those of the other workers", "the same for all, or size decides")
        if kinds[name].get("min_workers", 0):
            yield Finding(f"{where}.min_workers", "nodes that stay when nothing is to do", "write 0")
    priorities = [number(kind.get("priority")) for kind in kinds.values()]
    if len(set(priorities)) < len(priorities):
        yield Finding("available_node_types", "workers of one priority", "one for each, the cheapest highest")


def _times(document: dict[str, Any]) -> Iterator[Finding]:
    boot = mapping(document.get("metadata")).get("boot_minutes")
    idle = document.get("idle_timeout_minutes")
    if not isinstance(boot, int | float):
        yield Finding("metadata.boot_minutes", "not written", "minutes from the request to a ready node")
    elif not isinstance(idle, int | float) or idle < BOOTS * boot:
        yield Finding("idle_timeout_minutes", f"{idle}, with {boot} to boot", f"at least {BOOTS * boot:g}")


def _container(docker: dict[str, Any], ray_version: str) -> Iterator[Finding]:
    if "image" not in docker:  # Ray reads it even where both others are there
        yield Finding("docker.image", "not written", "the GPU image")
    for key in ("image", "head_image", "worker_image"):
        if key in docker:
            yield from wrong_tag(f"docker.{key}", docker[key], ray_version)
    options = texts(docker.get("run_options")) + texts(docker.get("worker_run_options"))
    given = set((setting(options, "NVIDIA_DRIVER_CAPABILITIES") or "").split(","))
    if VIDEO_CAPABILITIES - given:
        hint = f"-e NVIDIA_DRIVER_CAPABILITIES={','.join(sorted(VIDEO_CAPABILITIES))}"
        yield Finding("docker.worker_run_options", "no video codecs of the GPU", hint)


def _token(document: dict[str, Any]) -> Iterator[Finding]:
    options = texts(mapping(document.get("docker")).get("run_options"))
    if setting(options, "RAY_AUTH_MODE") != "token":
        yield Finding("docker.run_options", "a Ray that obeys everybody", "-e RAY_AUTH_MODE=token")
    path = setting(options, "RAY_AUTH_TOKEN_PATH")
    if path is None:
        yield Finding("docker.run_options", "no token", "-e RAY_AUTH_TOKEN_PATH=FILE, of a folder in file_mounts")
        return
    folders = [str(mount).removeprefix("~").rstrip("/") for mount in mapping(document.get("file_mounts"))]
    if not any(path.rpartition("/")[0].endswith(folder) for folder in folders if folder):
        yield Finding("file_mounts", f"nothing brings {path} to the nodes", "the folder of the token")


def _commands(document: dict[str, Any]) -> Iterator[Finding]:
    for key in COMMANDS:
        if not isinstance(document.get(key), list):
            yield Finding(key, "Ray's own installs another Ray", "write it, [] where nothing is to do")
    if not any("raylet" in command and "shutdown" in command for command in texts(document.get(INITIAL))):
        hint = "a timer that shuts a worker down when no raylet runs, as in cluster.yaml"
        yield Finding(INITIAL, "workers that outlive a lost head cost until somebody looks", hint)
    head = [command for command in texts(document.get("head_start_ray_commands")) if "ray start" in command]
    if not head or any("--dashboard-host=127.0.0.1" not in command for command in head):
        yield Finding("head_start_ray_commands", "a dashboard for everybody", "--dashboard-host=127.0.0.1")
    if not any("farm doctor" in command for command in texts(document.get("worker_setup_commands"))):
        yield Finding("worker_setup_commands", "nodes join without a check", "farm doctor --no-ray --need cuda")
