"""Kubernetes manifests against a table of field names and types, with no cluster at hand.

kuberay_fields.json has the tables, each a node: a type's name ("string", "integer", "number", "boolean",
"string|integer", "object", "array", "any"), the name of another table, or one of {"fields": {...}, "needs": [...]},
{"map": node}, {"list": node}, {"one of": [...]}.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

from farm.clusterfile.findings import Finding

IS: dict[str, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "string|integer": lambda value: isinstance(value, str | int) and not isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "any": lambda _value: True,
}


def tables() -> dict[str, Any]:
    """The tables by name: PodTemplate, RayCluster, RayJob, RayService (of their `spec`)."""
    text = (files("farm.clusterfile") / "kuberay_fields.json").read_text()
    return {str(name): node for name, node in json.loads(text).items()}


def field_faults(value: object, node: Any, known: dict[str, Any], where: str) -> Iterator[Finding]:
    """Names that are unknown at their place, missing ones, and values of another type."""
    if isinstance(node, str) and node not in IS:
        node = known[node]
    if isinstance(node, str):
        if not IS[node](value):
            yield Finding(where, f"{value!r} is no {node}", "correct it")
    elif "one of" in node:
        if value not in node["one of"]:
            yield Finding(where, f"{value!r} is not known", f"one of: {', '.join(map(str, node['one of']))}")
    elif "list" in node:
        if not isinstance(value, list):
            yield Finding(where, f"{value!r} is no list", "correct it")
            return
        for number, each in enumerate(value):
            yield from field_faults(each, node["list"], known, f"{where}[{number}]")
    elif not isinstance(value, dict):
        yield Finding(where, f"{value!r} holds no fields", "correct it")
    elif "map" in node:
        for name, each in value.items():
            yield from field_faults(each, node["map"], known, f"{where}.{name}")
    else:
        yield from _object_faults(value, node, known, where)


def _object_faults(value: dict[str, Any], node: Any, known: dict[str, Any], where: str) -> Iterator[Finding]:
    for name, each in value.items():
        if name not in node["fields"]:
            near = difflib.get_close_matches(str(name), node["fields"], n=1)
            yield Finding(f"{where}.{name}", "no such field", f"{near[0]}?" if near else "take it away")
        else:
            yield from field_faults(each, node["fields"][name], known, f"{where}.{name}")
    for name in node.get("needs", ()):
        if name not in value:
            yield Finding(f"{where}.{name}", "missing", "write it")
