"""Ten thousand nodes and a million segments, as `farm simulate` runs them: what comes out of a bad night."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.heavy
NIGHT = ["--nodes", "10000", "--segments", "1000000", "--loss-per-hour", "0.2"]
WORSE = ["--slow-nodes", "0.02", "--cold-engines", "60", "--hang-share", "0.00001", "--poisoned", "3", "--jobs", "4"]
# The last segments of a job are under way when nobody has other work: less than 8 % of some forty minutes.
LEAST_EFFICIENCY = 0.92
MOST_WASTED = 0.01
MEMORY_MB = 500


def simulated(*options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "farm.cli.main", "simulate", *NIGHT, *options, "--json"]
    outcome: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=1800).stdout)
    told = {key: value for key, value in outcome.items() if key not in {"scene", "job_finished_s"}}
    print(json.dumps(told, indent=1))
    return outcome


def test_spot_losses_cost_little_and_no_segment() -> None:
    night = simulated()
    assert night["done"] == 1_000_000
    assert night["errors"] == {}
    assert night["node_losses"] > 500
    assert night["efficiency"] >= LEAST_EFFICIENCY
    assert night["wasted_share"] <= MOST_WASTED
    assert night["machine"]["peak_mb"] < MEMORY_MB


def test_a_night_in_which_all_goes_wrong_at_once() -> None:
    night = simulated(*WORSE)
    # the poisoned job ends with an error that names the segment; the others lose nothing
    assert set(night["errors"]) == {"0"}
    assert night["done"] >= 750_000
    assert night["hangs"] > 0
    assert night["fairness_jain"] >= 0.999
    assert night["wasted_share"] <= MOST_WASTED
    assert night["machine"]["peak_mb"] < MEMORY_MB


def test_the_same_seed_is_the_same_night() -> None:
    small = ["--nodes", "300", "--segments", "20000", "--hang-share", "0.0001"]
    nights = [simulated(*small, "--seed", "7") for _ in range(2)]
    for night in nights:
        del night["machine"]
    assert nights[0] == nights[1]
