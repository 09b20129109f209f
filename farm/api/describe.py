"""The OpenAPI description of the service, as deploy/openapi.json keeps it: `make openapi` writes it anew."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from farm.api.app import make_app
from farm.api.context import ApiSettings
from farm.service.database import open_database
from farm.service.places import ServicePlaces


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, open_database(f"sqlite:///{folder}/farm.db") as db:
        app = make_app(db, ServicePlaces(Path(folder)), ApiSettings(secret=b"-" * 32))
        sys.stdout.write(json.dumps(app.openapi(), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
