"""One thing that is wrong with a cluster's file, and small readers that the rules share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# What an operator writes in place of: the words that stand in the files as they are shipped, and the addresses that
# RFC 5737 keeps for examples.
FILL_INS = ("ACCOUNT", "BUCKET", "DATABASE", "PASSWORD", "PROJECT", "PUBLIC_KEY", "REGISTRY")
EXAMPLES = r"(?<![\d.])(?:192\.0\.2|198\.51\.100|203\.0\.113)\.\d{1,3}(?![\d.])"
WORD = re.compile(rf"(?<![A-Z_])(?:{'|'.join(FILL_INS)})(?![A-Z_])|{EXAMPLES}")
# Names of variables are the operator's to choose: where one is set (`-e BUCKET=mine`), handed on or read, and in a pod.
VARIABLE = re.compile(
    r"""\$\{?\w+|(?:^|(?<=[\s"']))[A-Za-z_]\w*(?==)"""  # ${BUCKET}, and BUCKET in BUCKET=mine
    r"""|(?:(?<=-e )|(?<=--env )|(?<=--env=))[A-Za-z_]\w*"""  # -e BUCKET: as it is here
)
VARIABLE_OF_A_POD = re.compile(r"\benv\[\d+\]\.(?:name|valueFrom\.\w+KeyRef\.key)$")

VIDEO_CAPABILITIES = {"compute", "utility", "video"}  # the last for NVENC and NVDEC
OPEN_TO_ALL = ("0.0.0.0/0", "::/0")
TO_ALL = re.compile(rf"(?<![\w.:])(?:{'|'.join(map(re.escape, OPEN_TO_ALL))})(?!\d)")
ANY_ADDRESS = re.compile(r"(?<![\d.])0\.0\.0\.0(?!\.?\d)")


@dataclass(frozen=True)
class Finding:
    """`where` in the file (names joined by full stops), `what` is wrong, `hint`: what to write instead.

    `fill_in`: nothing is wrong, but the operator's own name is still missing there.
    """

    where: str
    what: str
    hint: str
    fill_in: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.hint}"


def leaves(node: object, where: str = "") -> Iterator[tuple[str, object]]:
    """Every value of a document that holds no others, with the names that lead to it."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{where}.{key}" if where else str(key))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from leaves(value, f"{where}[{number}]")
    else:
        yield where, node


def fill_ins(document: object) -> Iterator[Finding]:
    """Names that only the operator knows and that are not written yet."""
    for where, value in leaves(document):
        if not isinstance(value, str) or VARIABLE_OF_A_POD.search(where):
            continue
        for word in dict.fromkeys(WORD.findall(VARIABLE.sub("", value))):
            yield Finding(where, f"{word} is still to be written", "put your own name there", fill_in=True)


def open_places(document: object, *, pods: bool = False) -> Iterator[Finding]:
    """Values that let everybody in. Among `pods` every address is the cluster's own: NetworkPolicies decide there."""
    for where, value in leaves(document):
        if not isinstance(value, str):
            continue
        if TO_ALL.search(value):
            yield Finding(where, "opens a port to the whole internet", "name the addresses that may come in")
        elif ANY_ADDRESS.search(value) and not pods:
            yield Finding(where, "listens on every address", "write 127.0.0.1 and go there through SSH")


def mapping(node: object) -> dict[str, Any]:
    """`node` where it is a mapping, else an empty one: rules look at half-written files too."""
    return node if isinstance(node, dict) else {}


def number(node: object) -> float:
    """`node` where it is a number, else 0, which is what Ray takes where a priority is not written."""
    return node if isinstance(node, int | float) else 0


def members(node: object) -> list[Any]:
    """What a list holds; nothing where it is no list."""
    return node if isinstance(node, list) else []


def texts(node: object) -> list[str]:
    """The strings of a list; none where it is no list."""
    return [value for value in node if isinstance(value, str)] if isinstance(node, list) else []


def setting(options: list[str], name: str) -> str | None:
    """The last value of the environment variable `name` in options of `docker run`; None where it is not set."""
    found = None
    for option in options:
        for value in re.findall(rf"(?:-e|--env)[= ]{re.escape(name)}=(\S+)", option):
            found = value
    return found


def tag_of(image: str) -> str:
    """The tag of an image's address, "" where it has none: a colon may also stand before a registry's port."""
    return image.rpartition("/")[2].partition("@")[0].partition(":")[2]


def wrong_tag(where: str, image: object, ray_version: str) -> Iterator[Finding]:
    """A finding where the image is not one of this very Ray."""
    if not isinstance(image, str) or f"ray{ray_version}" not in re.split(r"[-_+]", tag_of(image)):
        hint = f"a tag with -ray{ray_version}- in it: Ray {ray_version} runs here, and both must be the same"
        yield Finding(where, f"the image {image!r} does not say that it holds this Ray", hint)
