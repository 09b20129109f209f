"""Read a cluster's file, whatever kind it is, and hold it to the rules of its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from core.errors import InputError
from farm.clusterfile.aws import aws_faults
from farm.clusterfile.findings import Finding, fill_ins, open_places
from farm.clusterfile.gcp import gcp_faults
from farm.clusterfile.kubernetes import kubernetes_faults
from farm.clusterfile.launcher import launcher_faults
from farm.clusterfile.local import local_faults

Rules = Callable[[dict[str, Any], str], Iterator[Finding]]


def _of_cloud(cloud: Callable[[dict[str, Any]], Iterator[Finding]]) -> Rules:
    return lambda document, ray_version: chain(launcher_faults(document, ray_version), cloud(document))


PROVIDERS: dict[str, Rules] = {"aws": _of_cloud(aws_faults), "gcp": _of_cloud(gcp_faults), "local": local_faults}


def read(path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file. `InputError` where it cannot be read, or none of them is a cluster's."""
    try:
        documents = [document for document in yaml.safe_load_all(path.read_text()) if document is not None]
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), hint="name a file") from error
    except UnicodeDecodeError as error:
        raise InputError("is not text", where=str(path), hint="name a YAML file") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise InputError(f"is no YAML{line}", where=str(path), hint="correct it") from error
    if not documents or not all(isinstance(document, dict) for document in documents):
        raise InputError("describes no cluster", where=str(path), hint="name a cluster.yaml or a KubeRay manifest")
    return documents


def findings(documents: list[dict[str, Any]], where: str = "") -> tuple[Finding, ...]:
    """All that is wrong with the documents of one file. `InputError` for a kind of file that no rules are for."""
    import ray  # noqa: PLC0415 - seconds

    pods = all("apiVersion" in document and "kind" in document for document in documents)
    if pods:
        found = list(kubernetes_faults(documents, ray.__version__))
    else:
        kind = documents[0].get("provider", {}).get("type") if isinstance(documents[0].get("provider"), dict) else None
        if len(documents) != 1 or not isinstance(kind, str):
            raise InputError("describes no cluster", where=where, hint="name a cluster.yaml or a KubeRay manifest")
        if kind not in PROVIDERS:
            known = ", ".join(PROVIDERS)
            raise InputError(f"no rules for provider {kind!r}", where=where, hint=f"there are for: {known}")
        found = list(PROVIDERS[kind](documents[0], ray.__version__))
    return (
        *found,
        *(each for document in documents for each in (*open_places(document, pods=pods), *fill_ins(document))),
    )
