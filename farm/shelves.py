"""Where the farm's machines share TensorRT engines: a folder that all see, or a bucket."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from core.errors import InputError, ModelError, StorageError
from core.inference.download import download
from core.inference.shelf import FolderShelf, Shelf

LEASE_S = 120.0  # a lock that was not renewed for so long belongs to nobody: its holder renews it four times as often
POLL_S = 2.0
HELD = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
GONE = {"NoSuchKey", "404"}
NO_CONDITIONS = {"NotImplemented", "501"}  # a server that has no conditional writes, and so no locks


def open_shelf(where: str | None) -> Shelf | None:
    """The shelf at `where`: s3://bucket/prefix or a folder; None for none. `InputError` for another address."""
    if where is None:
        return None
    if "://" not in where:
        return FolderShelf(Path(where))
    parts = urlsplit(where)
    if parts.scheme != "s3" or not parts.netloc:
        raise InputError("engines cannot be shared there", where=where, hint="name a folder or s3://BUCKET/PREFIX")
    return BucketShelf(parts.netloc, parts.path.strip("/"))


@dataclass(frozen=True)
class BucketShelf:
    """Objects under s3://bucket/prefix, with boto3's own settings (keys, region, endpoint) on each machine."""

    bucket: str
    prefix: str
    lease_s: float = LEASE_S
    poll_s: float = POLL_S

    @property
    def where(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def fetch(self, name: str, file: Path) -> bool:
        from farm.s3 import Absent, open_s3  # noqa: PLC0415 - loads boto3

        try:
            download(f"s3://{self.bucket}/{self._key(name)}", file, open_s3)
        except Absent:
            return False
        except ModelError as error:
            raise StorageError(error.what, where=error.where, hint=error.hint) from error
        return True

    def put(self, file: Path, name: str) -> None:
        with self._refusals(name):
            self._client().upload_file(str(file), self.bucket, self._key(name))

    @contextmanager
    def lock(self, name: str, waiting: Callable[[], None]) -> Iterator[None]:
        """An object that only one can make; it is made anew while it is held, and taken from one who no longer does."""
        key = self._key(f"{name}/lock")
        with self._refusals(f"{name}/lock"):
            client = self._client()
            tags = [self._taken(client, key, waiting)]
        over = threading.Event()
        holder = threading.Thread(target=self._hold, args=(client, key, tags, over), name="engine lock", daemon=True)
        holder.start()
        try:
            yield
        finally:
            over.set()
            holder.join()
            with suppress(Exception):  # a lock that cannot be given back now runs out
                if client.head_object(Bucket=self.bucket, Key=key)["ETag"] == tags[0]:
                    client.delete_object(Bucket=self.bucket, Key=key)

    def _taken(self, client: Any, key: str, waiting: Callable[[], None]) -> str:
        """Wait until the lock is ours; its version, "" on a server without locks."""
        from botocore.exceptions import ClientError  # noqa: PLC0415

        said = False
        condition: dict[str, str] = {"IfNoneMatch": "*"}
        while True:
            try:
                return str(client.put_object(Bucket=self.bucket, Key=key, Body=_owner(), **condition)["ETag"])
            except ClientError as error:
                code = str(error.response.get("Error", {}).get("Code", ""))
                if code in NO_CONDITIONS:
                    return ""
                if code not in HELD | GONE:
                    raise
            condition = {"IfNoneMatch": "*"}
            try:
                held = client.head_object(Bucket=self.bucket, Key=key)
            except ClientError as error:
                if str(error.response.get("Error", {}).get("Code", "")) not in GONE:
                    raise
                continue
            # Both times are the server's.
            now = parsedate_to_datetime(held["ResponseMetadata"]["HTTPHeaders"]["date"])
            if (now - held["LastModified"]).total_seconds() >= self.lease_s:
                condition = {"IfMatch": str(held["ETag"])}
                continue
            if not said:
                waiting()
                said = True
            time.sleep(self.poll_s)

    def _hold(self, client: Any, key: str, tags: list[str], over: threading.Event) -> None:
        """Renew the lock until `over`; one that another took is left alone. `tags` holds its version."""
        while tags[0] and not over.wait(max(self.lease_s, 4 * self.poll_s) / 4):
            with suppress(Exception):  # the line may be broken for a while
                made = client.put_object(Bucket=self.bucket, Key=key, Body=_owner(), IfMatch=tags[0])
                tags[0] = str(made["ETag"])

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _client(self) -> Any:
        from botocore.config import Config  # noqa: PLC0415 - half a second that a folder saves

        from farm.store.clients import make_client  # noqa: PLC0415

        config = Config(connect_timeout=10, read_timeout=30, retries={"total_max_attempts": 5, "mode": "standard"})
        return make_client(config)

    @contextmanager
    def _refusals(self, name: str) -> Iterator[None]:
        from boto3.exceptions import Boto3Error  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            yield
        except (Boto3Error, BotoCoreError, ClientError, ValueError) as error:
            raise StorageError(
                f"the bucket refuses: {(str(error).strip() or type(error).__name__).splitlines()[0]}",
                where=f"s3://{self.bucket}/{self._key(name)}",
                hint="check the keys and what they may write",
            ) from error


def _owner() -> bytes:
    """What a lock holds: other bytes every time, so that each version of it has a name of its own."""
    return json.dumps({"token": secrets.token_hex(16)}).encode()
