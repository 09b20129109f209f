"""The description of the service in the repository is the service's own."""

from __future__ import annotations

import json
from pathlib import Path

from farm.api.app import make_app
from farm.api.context import ApiSettings
from tests.farm.api.conftest import Server

FILE = Path(__file__).parents[3] / "deploy" / "openapi.json"


def test_the_description_in_the_repository_is_the_services(server: Server) -> None:
    made = make_app(server.db, server.places, ApiSettings(secret=b"-" * 32)).openapi()
    made["info"]["version"] = json.loads(FILE.read_text())["info"]["version"]
    assert json.loads(FILE.read_text()) == made, "write it anew: make openapi"


def test_every_call_says_what_it_is(server: Server) -> None:
    made = make_app(server.db, server.places, server.settings).openapi()
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            assert operation["operationId"], (path, method)
            assert operation["tags"], (path, method)
