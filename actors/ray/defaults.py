"""What Ray takes where a cluster file says nothing. Loads nothing of Ray."""

from __future__ import annotations

MAX_WORKERS = 2  # of a whole cluster (ray/autoscaler/aws/defaults.yaml)
