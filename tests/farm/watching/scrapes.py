"""Pages of metrics, and queries of Prometheus, as tests read them."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parents[3]
DASHBOARDS = ROOT / "deploy" / "grafana"
COLUMNS = 24
INTERVALS = {"$__rate_interval": "5m", "$__interval": "1m", "$__range": "3h"}  # Grafana's own


def scrape(address: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Samples by name: labels and value."""
    with urllib.request.urlopen(address, timeout=10) as answer:
        return samples(answer.read().decode())


def samples(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """The same of a page's text."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def dashboard(name: str = "farm") -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DASHBOARDS / f"{name}.json").read_text())
    return loaded


def queries(farm: str, name: str = "farm") -> list[tuple[str, str]]:
    """Panel and query, with the dashboard's variable `farm` filled in."""
    found = []
    for panel in dashboard(name)["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("${farm}", farm)
            for variable, value in INTERVALS.items():
                query = query.replace(variable, value)
            assert "$" not in query, query
            found.append((panel["title"], query))
    return found


def check_query(told: dict[str, list[tuple[dict[str, str], float]]], panel: str, query: str) -> None:
    """The query is of metrics that are told, with labels that all their samples have."""
    metrics = used(query)
    assert metrics
    for name, labels in metrics:
        assert name in told, panel
        have = set.intersection(*(set(found) for found, _ in told[name]))
        assert labels <= have, (panel, name, labels - have)


def overlaps(name: str = "farm") -> list[str]:
    """Panels that lie over others, stand out at the right, or have another's id."""
    seen: set[tuple[int, int]] = set()
    ids: set[int] = set()
    found = []
    for panel in dashboard(name)["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        if cells & seen or at["x"] + at["w"] > COLUMNS or panel["id"] in ids:
            found.append(str(panel["title"]))
        seen |= cells
        ids.add(panel["id"])
    return found


def used(query: str) -> list[tuple[str, set[str]]]:
    """Each metric that the query takes, with the labels that it asks of it; fails where it is no PromQL."""
    return list(_used(promql_parser.parse(query), frozenset()))


def _used(node: Any, asked: frozenset[str]) -> Iterator[tuple[str, set[str]]]:
    kind = type(node).__name__
    if kind == "BinaryExpr":
        yield from _used(node.lhs, asked)
        yield from _used(node.rhs, asked)
    elif kind == "AggregateExpr":
        labels = node.modifier.labels if node.modifier is not None else []
        yield from _used(node.expr, asked | set(labels))
    elif kind == "Call":
        # the bound of a bucket is only for histogram_quantile, which takes it away again
        for argument in node.args:
            yield from _used(argument, asked)
    elif kind in {"ParenExpr", "UnaryExpr", "SubqueryExpr"}:
        yield from _used(node.expr, asked)
    elif kind == "MatrixSelector":
        yield from _used(node.vector_selector, asked)
    elif kind == "VectorSelector":
        matched = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', str(node.matchers)))
        yield node.name, set(asked) | matched
    else:
        assert kind in {"NumberLiteral", "StringLiteral"}, kind


def legends(name: str = "farm") -> list[tuple[str, set[str], str]]:
    """Panel, the labels its legend names, and its query under Prometheus's own names."""
    found = []
    for panel in dashboard(name)["panels"]:
        for target in panel.get("targets", []):
            names = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            found.append((panel["title"], names, target["expr"]))
    return found
