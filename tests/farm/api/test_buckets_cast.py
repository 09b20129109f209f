"""A job that waits for a cast, with films, faces and all that is made of them in a bucket: through client and API."""

from __future__ import annotations

import hashlib
import io
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from farm.castedit import PersonEdit, edit_people
from farm.client import Farm
from farm.settings import Settings
from tests.faces_assets import astronaut, carphone_clip, model_cache
from tests.farm.api.bucket_steps import listed, unfinished
from tests.farm.api.conftest import House
from tests.farm.service.running import Farm as Works
from tests.farm.service.running import wait_for

FRAMES = 12


def until(farm: Farm, job: str, *states: str) -> Any:
    wait_for(lambda: farm.job(job).state in states)
    return farm.job(job)


@pytest.mark.heavy
def test_a_film_is_cast_and_rendered_from_a_bucket(far: House, store: Any, clips: Path, tmp_path: Path) -> None:
    """Analysed, its people shown, cast wrongly, cast rightly (as JSON, then as a file), rendered, fetched, erased."""
    film, her = carphone_clip(clips, frames=FRAMES), tmp_path / "her.png"
    PIL.Image.fromarray(astronaut()).save(her)
    works = Works(far.db, far.server.places, Settings(cores=2, model_cache=model_cache()))
    with Farm(far.server.url, far.secret) as farm, works.working():
        job = farm.submit(film, swapper="mesh", wait_for_cast=True, output="out.mp4")
        now = until(farm, job.id, "casting", "failed", "refused")
        assert (now.state, now.problem) == ("casting", None)

        sheet = farm.cast(job.id)
        (person,) = sheet.people
        assert (person.frames, person.source) == (FRAMES, "")
        assert person.thumbnail is not None
        portrait = farm.cast_picture(job.id, Path(person.thumbnail).name)
        assert np.asarray(PIL.Image.open(io.BytesIO(portrait))).std() > 5, "a picture of somebody"
        below = f"state/service/jobs/{job.id}/cast/"
        assert {f"{below}{name}" for name in ("cast.toml", "index.html", "analysis.json")} <= set(listed(store))

        face = farm.upload(her, "source")
        assert (face.state, face.media["kind"]) == ("ready", "picture")
        wrong = edit_people(sheet.toml, {person.id: PersonEdit((f"upload:{face.id}",), face=7)})
        assert farm.put_cast(job.id, wrong).state != "casting"
        now = until(farm, job.id, "casting", "failed", "succeeded")
        assert now.state == "casting", now.problem
        assert "face" in now.problem.detail
        assert "s3://" not in json.dumps(now.model_dump(mode="json")), "where files lie is the service's own"

        farm.put_cast(job.id, {"people": {person.id: {"source": {"images": [{"upload": face.id}]}}}})
        now = until(farm, job.id, "succeeded", "failed", "casting")
        assert (now.state, now.problem) == ("succeeded", None)
        assert tomllib.loads(farm.cast(job.id).toml)["people"][0]["source"] == f"upload:{face.id}"
        assert farm.cast(job.id).people[0].sources == [f"upload:{face.id}"]
        assert {one.stage for one in farm.segments(job.id)} == {"analyse", "render"}

        stores = (f"/jobs/{job.id}/store/", f"/jobs/{job.id}/cast/store/")
        wait_for(lambda: not [key for key in listed(store) if any(one in key for one in stores)])
        assert f"{below}cast.toml" in listed(store)

        report = farm.report(job.id)
        assert (report["faces"], report["frames_replaced"], report["labelled"]) == (FRAMES, FRAMES, True)
        assert "s3://" not in json.dumps(report)
        out = farm.download(job.id, tmp_path / "out.mp4")
        assert now.result is not None
        assert hashlib.sha256(out.read_bytes()).hexdigest() == now.result.sha256
        with far.http() as http:
            pictures = {side: preview(http, job.id, side) for side in ("before", "after")}
        assert pictures["before"].shape == pictures["after"].shape
        assert np.abs(pictures["before"] - pictures["after"]).max() > 30, "somebody else is seen"

        farm.erase(job.id)
        wait_for(lambda: not [key for key in listed(store) if "/jobs/" in key or "/uploads/" in key])
    assert unfinished(store) == []


def preview(http: Any, job: str, side: str) -> Any:
    answer = http.get(f"/v1/jobs/{job}/preview.jpg", params={"side": side, "at": 0.2, "width": 224})
    assert answer.status_code == 200, answer.text
    return np.asarray(PIL.Image.open(io.BytesIO(answer.content)), np.int16)
