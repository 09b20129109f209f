"""On what kind of file system a path lies, and whether a lock there reaches all who see it."""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")  # https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
# Those of one kernel. What is not named here may be shared with other machines.
OF_ONE_KERNEL = {
    "bcachefs",
    "btrfs",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "jfs",
    "overlay",
    "ramfs",
    "reiserfs",
    "tmpfs",
    "vfat",
    "xfs",
    "zfs",
}
OF_A_PROCESS = "fuse"  # each mount of it is a file system of its own, also on one machine


def kind_of(path: Path) -> str:
    """The kind of file system that `path` lies on (ext4, nfs4, fuse.s3fs, ...); "" where that cannot be told."""
    try:
        rows = MOUNTS.read_text(errors="surrogateescape").splitlines()
        whole = path.resolve()
    except OSError:
        return ""
    longest, kind = -1, ""
    for row in rows:
        mount, _, source = row.partition(" - ")
        fields = mount.split(" ")
        if len(fields) < 5:
            continue
        folder = Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4]))
        if len(folder.parts) >= longest and whole.is_relative_to(folder):  # a later mount covers an earlier one
            longest, kind = len(folder.parts), source.split(" ")[0]
    return kind
