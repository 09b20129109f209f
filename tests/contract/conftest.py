"""An S3 server on this machine, as in tests/farm."""

from tests.farm.conftest import s3, s3_server

__all__ = ["s3", "s3_server"]
