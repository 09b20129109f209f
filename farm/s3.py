"""Reading a file out of an S3 bucket from any byte on, with boto3's own settings (keys, region, endpoint)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from urllib3.exceptions import HTTPError

from core.errors import ModelError
from core.inference.download import Broken, Stream
from farm.store.clients import expects_role, make_client

CHUNK_BYTES = 1 << 20
STALE = {"412", "416", "PreconditionFailed", "InvalidRange"}
TRY_AGAIN = {"500", "503", "InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout"}
ABSENT = {"404", "NoSuchKey", "NoSuchBucket"}


class Absent(ModelError):
    """There is no such object."""


def open_s3(url: str, first: int, version: str) -> Stream:
    """The bytes of s3://bucket/key from `first` on, or from 0 on where the object is not `version` (its ETag) any more.

    Raises `Broken` for what another try may mend, `ModelError` for the rest.
    """
    parts = urlsplit(url)
    bucket, key = parts.netloc, parts.path.lstrip("/")
    if not bucket or not key:
        raise ModelError("not an address of an object", where=url, hint="write s3://BUCKET/KEY")
    wanted = {"Range": f"bytes={first}-", "IfMatch": version} if first and version else {}
    try:
        answer = _client().get_object(Bucket=bucket, Key=key, **wanted)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in STALE and wanted:
            return open_s3(url, 0, "")
        raise _refusal(url, code) from error
    except (CredentialRetrievalError, NoCredentialsError, PartialCredentialsError) as error:
        if isinstance(error, CredentialRetrievalError) and expects_role():
            raise Broken(_line(error)) from error  # the service that gives the keys anew hiccups
        raise ModelError("no keys for S3", where=url, hint="set them as for the AWS command line") from error
    except (ConnectionError, HTTPClientError, HTTPError) as error:
        raise Broken(_line(error)) from error
    except (BotoCoreError, ValueError) as error:
        raise ModelError(_line(error), where=url) from error
    start, total = 0, int(answer["ContentLength"])
    if span := re.match(r"bytes (\d+)-\d+/(\d+)", str(answer.get("ContentRange", ""))):
        start, total = int(span[1]), int(span[2])
    return Stream(start, total, str(answer.get("ETag", "")), _chunks(answer["Body"]))


def _client() -> Any:
    # download() tries again by itself and goes on where the line broke
    config = Config(connect_timeout=10, read_timeout=30, retries={"total_max_attempts": 1})
    return make_client(config)


def _chunks(body: Any) -> Iterator[bytes]:
    try:
        yield from body.iter_chunks(CHUNK_BYTES)
    except (BotoCoreError, HTTPError, OSError) as error:
        raise Broken(_line(error)) from error
    finally:
        body.close()


def _refusal(url: str, code: str) -> Exception:
    if code in TRY_AGAIN:
        return Broken(f"S3 answers {code}")
    if code in ABSENT:
        return Absent("no such object", where=url, hint="check the address")
    return ModelError(f"S3 answers {code}", where=url, hint="check the keys and what they may read")


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
