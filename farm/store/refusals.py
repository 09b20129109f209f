"""What S3 and the way to it say, as errors of ours: what another try may mend, and one clear line for the rest."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from core.errors import StorageError

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
AGAIN = {
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
}
AGAIN_STATUS = {408, 409, 429, 500, 502, 503, 504}
KEYS = {
    "AuthFailure",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
}
EXPIRED = {"ExpiredToken", "RequestExpired", "TokenRefreshRequired"}
DENIED = {"AccessDenied", "AllAccessDisabled", "AccountProblem"}
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
RIGHTS = {
    "abort multipart upload": "s3:AbortMultipartUpload",
    "complete multipart upload": "s3:PutObject",
    "create multipart upload": "s3:PutObject",
    "delete object": "s3:DeleteObject",
    "delete objects": "s3:DeleteObject",
    "get object": "s3:GetObject, and s3:ListBucket, without which what is not there looks forbidden",
    "list objects v2": "s3:ListBucket",
    "list parts": "s3:ListMultipartUploadParts",
    "put object": "s3:PutObject",
    "upload part": "s3:PutObject",
}
REGION = {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
SET_KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role"


class Refused(StorageError):
    """S3 says no, and would say so again."""


class Unfit(Refused):
    """What the user gave cannot work: keys, bucket, region, endpoint, permission."""


class NoKeys(Unfit):
    """This machine has no keys."""


class Missing(Refused):
    """There is no such object, or no such upload."""


class Conflict(Refused):
    """The condition of a request does not hold: somebody else was first, or the object changed."""


class NoConditions(Refused):
    """The server does not know conditional requests."""


class NoRange(Refused):
    """The object is shorter than what was asked for."""


class Broken(StorageError):
    """The request failed in a way that another try may mend."""


class Unreachable(Broken):
    """Nobody answers at the endpoint, or the line breaks."""


@dataclass(frozen=True)
class Patience:
    """How long is waited for S3. A try after the n-th failure follows a pause drawn evenly from 0 to
    min(cap_s, base_s 2^n) seconds, the full jitter of https://aws.amazon.com/blogs/architecture/ under
    "Exponential Backoff And Jitter": clients that failed together do not come back together. So a server that starts
    again is waited for: 76 s on average."""

    tries: int = 14
    base_s: float = 0.25
    cap_s: float = 20.0
    connect_s: float = 10.0
    read_s: float = 60.0
    slow_s: float | None = None

    @property
    def grace_s(self) -> float:
        """How long a body may be slower than `farm.store.pace` asks for: as long as it may be silent."""
        return self.read_s if self.slow_s is None else self.slow_s

    @property
    def longest_s(self) -> float:
        """How long one request is waited for at most, with all its tries, where its answers have no body."""
        pauses_s = sum(self.pauses(lambda: 1.0))
        return pauses_s + self.tries * (self.connect_s + self.read_s)

    def pauses(self, draw: Callable[[], float] = random.random) -> Iterator[float]:
        """The pauses before each further try, in seconds."""
        for number in range(self.tries - 1):
            yield draw() * min(self.cap_s, self.base_s * 2**number)


ONCE = Patience(tries=1)  # for what is asked or told again soon, or by somebody else


def translate(error: Exception, where: str, doing: str) -> StorageError:
    """What `error` means for the request `doing` (get object, ...) at `where`."""
    if isinstance(error, ClientError):
        return _answer(error, where, doing)
    for kinds, refusal, what, hint in _FAULTS:
        if isinstance(error, kinds):
            return refusal(what.format(line=_line(error)), where=where, hint=hint)
    raise error


_NO_KEYS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError)
# botocore follows a redirection that names no region without end.
_FAULTS: tuple[tuple[tuple[type[Exception], ...], type[StorageError], str, str], ...] = (
    (_NO_KEYS, NoKeys, "no credentials for S3", SET_KEYS),
    ((ProfileNotFound,), Unfit, "{line}", "check AWS_PROFILE and the file it is in"),
    (
        # In the middle of a body botocore hands on what urllib3 says of TLS and of the line.
        (ConnectionError, HTTPClientError, HTTPError, OSError),
        Unreachable,
        "S3 cannot be reached: {line}",
        "check AWS_ENDPOINT_URL and the network",
    ),
    ((ResponseParserError, IncompleteReadError), Broken, "S3's answer was cut off", "check the network"),
    ((RecursionError,), Unfit, "the bucket is in another region", "set AWS_REGION to the bucket's"),
    ((ParamValidationError,), Unfit, "not a name that S3 takes", "write s3://BUCKET/PREFIX"),
    (
        (BotoCoreError, ValueError),
        Unfit,
        "S3 cannot be used: {line}",
        "check AWS_ENDPOINT_URL and AWS_REGION",
    ),
)


def _answer(error: ClientError, where: str, doing: str) -> StorageError:
    told = error.response.get("Error", {})
    meta = error.response.get("ResponseMetadata", {})
    code, status = str(told.get("Code", "")), int(meta.get("HTTPStatusCode", 0))
    region = meta.get("HTTPHeaders", {}).get("x-amz-bucket-region") or told.get("Region") or "the bucket's"
    return refusal(code, where, doing, status=status, region=region, message=str(told.get("Message", "")))


def refusal(
    code: str, where: str, doing: str, *, status: int = 0, region: str = "the bucket's", message: str = ""
) -> StorageError:
    """What an answer with the error `code`, or with a status where it has none, means."""
    said = f"S3 answers {code or status} to {doing}"
    known = {"said": said, "code": code or str(status), "doing": doing, "region": region}
    known["rights"] = RIGHTS.get(doing, "the permission")
    for codes, statuses, kind, what, hint in _ANSWERS:
        if code in codes or status in statuses:
            return kind(what.format(**known), where=where, hint=hint.format(**known))
    return Refused(f"{said}: {message}".rstrip(": "), where=where, hint="check the bucket's settings")


# The first line that fits counts: an error code says more than a status.
_ANSWERS: tuple[tuple[set[str], set[int], type[StorageError], str, str], ...] = (
    ({"PreconditionFailed"}, {412}, Conflict, "{said}", "another writer was first"),
    ({"NotImplemented"}, {501}, NoConditions, "{said}", "the server does not know this request"),
    ({"InvalidRange"}, {416}, NoRange, "{said}", "the object is shorter now"),
    (
        {"RequestTimeTooSkewed"},
        set(),
        Unfit,
        "this machine's clock and that of S3 differ too much",
        "set the clock (NTP)",
    ),
    (EXPIRED, set(), Unfit, "the credentials have expired ({code})", "get new ones, then run the same command again"),
    (KEYS, set(), Unfit, "S3 does not take the credentials ({code})", SET_KEYS),
    (REGION, {301}, Unfit, "the bucket is in another region", "set AWS_REGION to {region}"),
    ({"NoSuchBucket"}, set(), Unfit, "no such bucket", "check its name, or make it first"),
    ({"InvalidBucketName"}, set(), Unfit, "not the name of a bucket", "write s3://BUCKET/PREFIX"),
    (AGAIN, AGAIN_STATUS, Broken, "{said}", "run the same command again later"),
    (set(), {404}, Missing, "{said}", "check the address"),
    (DENIED, {401, 403}, Unfit, "these credentials may not {doing} here ({code})", "give them {rights}"),
)


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
