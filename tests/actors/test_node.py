"""The notice that a machine is taken away, from a service that answers as AWS's and Google's do."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from actors.machine import machine_kind
from actors.node import AUTO, AWS_NOTICE_S, GOOGLE_NOTICE_S, LINK_LOCAL, OFF, TRIES, Notice, NoticeWatch, service_at
from tests.actors.metadata import metadata_service

POLL_S = 0.01


@pytest.mark.parametrize("google", [False, True])
def test_the_notice_comes_when_it_is_given(google: bool) -> None:
    with metadata_service(google=google) as service:
        watch, found = NoticeWatch(service.address, poll_s=POLL_S), list[Notice | None]()
        thread = threading.Thread(target=lambda: found.append(watch.wait()))
        thread.start()
        while len(service.asked) < 20:
            assert thread.is_alive()
        service.broken = True  # a service that answered once is not given up
        asked = len(service.asked)
        while len(service.asked) < asked + 3 * TRIES:
            assert thread.is_alive()
        service.take_away(in_s=60)
        service.broken = False
        thread.join()
        assert service.asked.count("PUT /latest/api/token") == (0 if google else 1)
    (notice,) = found
    assert notice is not None
    if google:
        assert notice == Notice(GOOGLE_NOTICE_S, "preempted")
    else:
        assert notice.what == "terminate"
        assert 30 < notice.left_s <= 60


def test_a_token_that_ran_out_is_renewed() -> None:
    with metadata_service() as service:
        watch, found = NoticeWatch(service.address, poll_s=POLL_S), list[Notice | None]()
        thread = threading.Thread(target=lambda: found.append(watch.wait()))
        thread.start()
        while "GET /latest/meta-data/spot/instance-action" not in service.asked:
            assert thread.is_alive()
        service.token = "token-2"
        service.action = "no JSON at all"
        thread.join()
    assert found == [Notice(AWS_NOTICE_S, "instance-action")]


def test_a_machine_without_a_service_is_asked_a_few_times_only() -> None:
    with metadata_service() as service:
        service.broken = True
        assert NoticeWatch(service.address, poll_s=POLL_S).wait() is None
        assert len(service.asked) == 2 * TRIES
    assert NoticeWatch("http://127.0.0.1:1", poll_s=POLL_S).wait() is None
    assert NoticeWatch(OFF).wait() is None


def test_a_service_of_a_clouds_machine_that_is_silent_at_first_is_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = tmp_path / "sys_vendor"
    vendor.write_text("Amazon EC2\n")
    with metadata_service() as service:
        monkeypatch.setattr("actors.node.LINK_LOCAL", service.address)
        service.broken = True
        watch, found = NoticeWatch(AUTO, poll_s=POLL_S, vendor=vendor), list[Notice | None]()
        thread = threading.Thread(target=lambda: found.append(watch.wait()))
        thread.start()
        while len(service.asked) < 10 * TRIES:
            assert thread.is_alive()
        service.take_away(in_s=60)
        service.broken = False
        thread.join()
    (notice,) = found
    assert notice is not None
    assert notice.what == "terminate"


def test_waiting_can_be_stopped() -> None:
    with metadata_service() as service:
        watch, found = NoticeWatch(service.address, poll_s=60.0), list[Notice | None]()
        thread = threading.Thread(target=lambda: found.append(watch.wait()))
        thread.start()
        while not service.asked:
            assert thread.is_alive()
        watch.stop()
        thread.join()
    assert found == [None]


def test_whose_service_is_asked(tmp_path: Path) -> None:
    vendor = tmp_path / "sys_vendor"
    assert service_at(AUTO, vendor) == ""
    vendor.write_text("QEMU\n")
    assert service_at(AUTO, vendor) == ""
    for maker in ("Amazon EC2\n", "Google\n"):
        vendor.write_text(maker)
        assert service_at(AUTO, vendor) == LINK_LOCAL
    assert service_at("http://stub:1/", vendor) == "http://stub:1"
    assert service_at(OFF, vendor) == ""


def test_what_a_machine_is(tmp_path: Path) -> None:
    assert machine_kind("auto", tmp_path) == "cpu"
    card = tmp_path / "0000:01:00.0" / "information"
    card.parent.mkdir()
    card.write_text("Model: \t\t NVIDIA L4\nIRQ:   24\n")
    assert machine_kind("auto", tmp_path) == "NVIDIA L4"
    assert machine_kind("cpu", tmp_path) == "cpu"
