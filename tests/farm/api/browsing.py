"""A browser for tests of the page: each page is watched, looked at by axe-core in both themes, kept in its origin."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
THEMES = ("light", "dark")
GRAVE = {"serious", "critical"}
WIDE = {"width": 1280, "height": 900}
TALL = {"width": 1280, "height": 1700}
SLOW_MS = 60_000


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium of this machine. `RuntimeError` where there is none: `make machine` installs it."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise RuntimeError("no Chromium on this machine; install it: make machine")
    expect.set_options(timeout=SLOW_MS)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=found, args=list(QUIET))
        try:
            yield made
        finally:
            made.close()


@dataclass
class Seen:
    """What a page asked for and complained of."""

    origins: tuple[str, ...]
    strangers: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def request(self, request: Request) -> None:
        if not request.url.startswith((*(f"{origin}/" for origin in self.origins), "blob:", "data:")):
            self.strangers.append(request.url)

    def console(self, message: ConsoleMessage) -> None:
        # A refused call is shown by the page itself; the browser tells the console of it, too.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)


@contextmanager
def page_at(
    browser: Browser, url: str, *, tall: bool = False, theme: str = "light", bucket: str = ""
) -> Iterator[Page]:
    """The page of the service at `url`, just opened. When it is left, it has asked nobody but its origin, and that of
    the service's `bucket`, and has not complained."""
    origin = "/".join(url.split("/")[:3])
    seen = Seen((origin, bucket) if bucket else (origin,))
    context = browser.new_context(
        viewport=TALL if tall else WIDE,  # type: ignore[arg-type]
        color_scheme=theme,  # type: ignore[arg-type]
        locale="en-GB",
        timezone_id="UTC",
    )
    context.set_default_timeout(SLOW_MS)
    try:
        page = context.new_page()
        page.on("request", seen.request)
        page.on("console", seen.console)
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(f"{url}/")
        yield page
        assert seen.strangers == []
        assert seen.complaints == []
    finally:
        context.close()


def signed_in(page: Page, key: str) -> None:
    """Give the key, as a person does."""
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("heading", name="Jobs").wait_for()


def looked_at(page: Page, name: str) -> None:
    """axe-core finds nothing serious on the view as it is, in both themes. With FARM_SHOTS a picture of each is kept in
    that folder."""
    shots = os.environ.get("FARM_SHOTS")
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        if shots:
            page.screenshot(path=Path(shots) / f"{name}-{theme}.png", full_page=True)
        found = [one for one in Axe().run(page).response["violations"] if one["impact"] in GRAVE]
        told = [(one["id"], one["impact"], [node["html"][:120] for node in one["nodes"]][:4]) for one in found]
        assert not told, f"{name}, {theme}: {told}"
