"""What a person does on the page, step by step, and a coordinator's part of it for tests that render nothing."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from farm.service import held
from farm.service.records import Held, Progress, SegmentRow, Spent
from farm.service.states import JobState
from tests.faces_assets import astronaut
from tests.farm.api.conftest import House
from tests.farm.api.flows import taken
from tests.farm.service.running import wait_for

PEOPLE = ("p1", "p2")
SLOW_MS = 120_000


def job_of(page: Page) -> str:
    """The job whose view is shown."""
    page.wait_for_url("**/#/jobs/job_*", timeout=SLOW_MS)
    return page.url.rpartition("/")[2]


def asked_for(page: Page, film: Path, *, quality: bool = False) -> str:
    """A job for `film` that waits for a cast."""
    page.get_by_role("link", name="New job").first.click()
    dropped(page, ".drop:has(#film)", film)
    page.get_by_label("First look who is in the film").check()
    expect(page.locator("#faces")).to_be_hidden()
    if quality:
        page.get_by_text("More", exact=True).click()
        page.get_by_label("Measure how good").check()
    page.get_by_role("button", name="Send and start").click()
    return job_of(page)


def dropped(page: Page, where: str, file: Path) -> None:
    """Drop a file from outside the browser."""
    data = page.evaluate_handle(
        """([name, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(atob(bytes), (one) => one.charCodeAt(0))], name));
            return data;
        }""",
        [file.name, base64.b64encode(file.read_bytes()).decode()],
    )
    page.dispatch_event(where, "drop", {"dataTransfer": data})


def cast_by_hand(page: Page, faces: list[Path]) -> None:
    """The first face is dragged onto the first person, the other is chosen for the second one with the keyboard."""
    people = page.locator(".people > li")
    expect(people).to_have_count(2, timeout=SLOW_MS)
    expect(page.get_by_role("button", name="Start rendering")).to_be_disabled()
    page.set_input_files("#new-faces", faces)
    expect(page.locator(".faces > li")).to_have_count(2)
    page.drag_and_drop(".faces > li >> nth=0", ".people > li >> nth=0")
    expect(people.nth(0).locator(".becomes img")).to_have_attribute("alt", f"becomes {faces[0].name}")
    choice = people.nth(1).locator("select")
    choice.focus()
    page.keyboard.press("End")
    expect(people.nth(1).locator(".becomes img")).to_have_attribute("alt", f"becomes {faces[1].name}")


def started(page: Page) -> None:
    button = page.get_by_role("button", name="Start rendering")
    button.focus()
    page.keyboard.press("Enter")


def compared(page: Page) -> None:
    """The edge and the time are moved with the keyboard, and the pictures follow."""
    after = page.locator(".compare img.after")
    there(after)
    split = page.get_by_label("Edge between before and after")
    for key, share in (("Home", 0), ("End", 100), ("ArrowLeft", 99)):
        split.press(key)
        expect(after).to_have_css("clip-path", f"inset(0px 0px 0px {share}%)")
    shown = after.get_attribute("src")
    page.get_by_label("Time in the film").press("End")
    expect(after).not_to_have_attribute("src", str(shown))
    there(after)
    for _ in range(5):
        split.press("PageDown")


def there(image: Locator) -> None:
    """Wait until a picture is shown; the page's policy lets no expression be waited for in the browser."""
    image.wait_for(timeout=SLOW_MS)
    wait_for(lambda: int(image.evaluate("(one) => one.naturalWidth")) > 0)


def downloaded(page: Page) -> str:
    """The SHA-256 of what the browser saves."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").click()
    return hashlib.sha256(Path(waiting.value.path()).read_bytes()).hexdigest()


def erased(page: Page) -> None:
    page.get_by_role("button", name="Erase").click()
    page.wait_for_url("**/#/jobs")
    expect(page.get_by_text("No jobs yet.")).to_be_visible()


# ---------------------------------------------------------------- the coordinator's part


def shot(picture: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG")
    return file.getvalue()


def analysing(house: House, job: str) -> Held:
    """The job while its film is looked at."""
    mine = taken(house, job)
    held.stage(house.db, mine, JobState.analysing)
    progress = Progress("analyse", 9, 28, 1, 4, 2, 12, 10.5, 61, 130)
    rows = [
        SegmentRow("analyse", number, state, 7, done, attempt=1, node="node-1")
        for number, (state, done) in enumerate((("done", 7), ("working", 2), ("failed", 0), ("waiting", 0)))
    ]
    held.report(house.db, mine, progress=progress, spent=Spent(61_000, 70_000, 420_000, "USD"), segments=rows)
    return mine


def waiting_for_cast(house: House, job: str, mine: Held) -> None:
    """Two people were found."""
    folder = house.server.places.cast_folder(job)
    folder.mkdir(parents=True)
    portrait = astronaut()[40:200, 140:300]
    blocks = []
    for number, person in enumerate(PEOPLE):
        (folder / f"{person}.jpg").write_bytes(shot(portrait if number else portrait[:, ::-1]))
        texts = {
            "id": person,
            "name": "",
            "first": "00:00:00.000",
            "last": "00:00:01.080",
            "thumbnail": f"{person}.jpg",
        }
        lines = [f"{name} = {json.dumps(text)}" for name, text in {**texts, "source": ""}.items()]
        blocks.append("\n".join(["[[people]]", *lines, "screen_time_s = 1.12", "frames = 28"]))
    (folder / "cast.toml").write_text("\n\n".join(blocks) + "\n")
    held.wait_for_cast(house.db, mine)
