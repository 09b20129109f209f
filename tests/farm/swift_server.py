"""OpenStack Swift with its S3 interface on this machine: a server that checks signatures, clocks and rights.

All of its servers in one process, with one disk and one copy of everything. `python -m tests.farm.swift_server FOLDER
AHEAD` prints the port when it takes requests, its clock AHEAD seconds ahead, and runs until who started it is gone.
ADMIN may do everything, GUEST nothing.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

ADMIN = ("lab:admin", "admins-secret")
GUEST = ("lab:guest", "guests-secret")
REGION = "eu-central-1"
BEHIND = ("account", "container", "object")
FILTERS = ("catch_errors", "gatekeeper", "listing_formats", "bulk", "s3api", "tempauth", "slo")
FILTERS += ("versioned_writes", "symlink")
OPTIONS = {
    "s3api": f"location = {REGION}\nallow_multipart_uploads = true",
    "tempauth": f"user_lab_admin = {ADMIN[1]} .admin\nuser_lab_guest = {GUEST[1]}",
    "versioned_writes": "allow_object_versioning = true",
}
CLUSTER = "[swift-hash]\nswift_hash_path_suffix = lab\n[storage-policy:0]\nname = one\ndefault = yes\n"
HEAD = "[DEFAULT]\nswift_dir = {folder}\nlog_address = {folder}/none\n"
BACK = (
    HEAD + "devices = {folder}/disks\nmount_check = false\ndisable_fallocate = true\nfallocate_reserve = 0\n"
    "[pipeline:main]\npipeline = server\n[app:server]\nuse = egg:swift#{kind}\n"
)


def front(folder: Path) -> str:
    """The configuration of the server that speaks S3."""
    filters = "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n{OPTIONS.get(name, '')}\n" for name in FILTERS)
    pipeline = f"[pipeline:main]\npipeline = {' '.join(FILTERS)} proxy-server\n"
    app = "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n"
    return f"{HEAD.format(folder=folder)}{pipeline}{app}{filters}"


def serve(folder: Path, ahead_s: int) -> None:
    import eventlet  # noqa: PLC0415 - it and Swift are only in this process

    eventlet.monkey_patch()
    if ahead_s:
        true_time = time.time
        time.time = lambda: true_time() + ahead_s
    from eventlet import wsgi  # noqa: PLC0415
    from swift.common import utils  # noqa: PLC0415

    (folder / "swift.conf").write_text(CLUSTER)
    utils.set_swift_dir(str(folder))
    from swift.common.ring import RingBuilder  # noqa: PLC0415
    from swift.common.wsgi import SwiftHttpProtocol, loadapp  # noqa: PLC0415

    (folder / "disks" / "d").mkdir(parents=True)
    lines = {kind: eventlet.listen(("127.0.0.1", 0)) for kind in (*BEHIND, "proxy")}
    for kind in BEHIND:
        port = lines[kind].getsockname()[1]
        ring = RingBuilder(4, 1, 0)
        here = {"ip": "127.0.0.1", "port": port, "replication_ip": "127.0.0.1", "replication_port": port}
        ring.add_dev({"region": 1, "zone": 1, "device": "d", "weight": 1.0, **here})
        ring.rebalance()
        ring.get_ring().save(str(folder / f"{kind}.ring.gz"))
        (folder / f"{kind}.conf").write_text(BACK.format(folder=folder, kind=kind))
    (folder / "proxy.conf").write_text(front(folder))
    quiet = utils.get_logger({}, log_route="wsgi")
    for kind, line in lines.items():
        app = loadapp(str(folder / f"{kind}.conf"))
        eventlet.spawn(wsgi.server, line, app, quiet, protocol=SwiftHttpProtocol)
    sys.stdout.write(f"{lines['proxy'].getsockname()[1]}\n")
    sys.stdout.flush()
    parent = os.getppid()
    while os.getppid() == parent:
        eventlet.sleep(0.5)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
