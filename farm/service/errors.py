"""What the service refuses, beside what films and disks refuse: FarmErrors, so that they are one line anywhere.

NotFound(InputError)       no such job, upload, key or webhook of this tenant: another tenant's is the same
Conflict(InputError)       the state of things does not allow it now
KeyReused(Conflict)        an idempotency key that was used with another body
BadCursor(InputError)      a page's cursor that this list did not give
NotAllowed(PolicyError)    the key lacks a scope
NoKey(PolicyError)         no key, an unknown, expired or revoked one: all the same from outside
OverQuota(PolicyError)     the tenant's quota is used up: no waiting of seconds mends it
TooFast(PolicyError)       more calls at a time than may be: to be tried again in seconds
TooLong(PolicyError)       a film that is longer than the tenant's films may be, whenever it is asked
LeaseLost(StorageError)    another coordinator has the job by now
Unreachable(StorageError)  the database does not answer; to be tried again
"""

from __future__ import annotations

from core.errors import InputError, PolicyError, StorageError


class NotFound(InputError):
    pass


class Conflict(InputError):
    pass


class KeyReused(Conflict):
    pass


class BadCursor(InputError):
    pass


class NotAllowed(PolicyError):
    pass


class NoKey(PolicyError):
    pass


class OverQuota(PolicyError):
    pass


class TooFast(PolicyError):
    pass


class TooLong(PolicyError):
    pass


class LeaseLost(StorageError):
    pass


class Unreachable(StorageError):
    pass
