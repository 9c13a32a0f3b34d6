"""What becomes of a job after trouble that may pass: how long it waits, and what is no attempt at all."""

from collections.abc import Mapping
from typing import Any

from zgrid.protocol.lane import Job
from zgrid.protocol.messages import Code

RETRY_DELAY_MS = 1000
"""After the first failure; doubles with each."""
RETRY_DELAY_MS_MAX = 300_000

UNREAD_TRIES_MAX = 10
"""So often an image is looked for that its ventilator cannot read for now, with 8.5 minutes of pauses in all: a share
that is not mounted for a while buries nothing. No worker has had it, so ``attempts_max`` is not there to bound that."""


def retry_delay_ms(failures: int, key: bytes) -> int:
    """Return the wait before the next attempt, in ms: doubling, spread by the key so that jobs do not come at once."""
    delay_ms = min(RETRY_DELAY_MS_MAX, RETRY_DELAY_MS << min(20, failures - 1))
    return delay_ms * (192 + key[1] // 2) // 256


def tries_max(job: Job, attempts_max: int, why: Mapping[str, Any]) -> int:
    """Return after how many failures that may pass a job is buried; what it was put with bounds them all."""
    return job.attempts_max or (max(attempts_max, UNREAD_TRIES_MAX) if why.get("source") is True else attempts_max)


def given_back(job: Job, code: Code, why: Mapping[str, Any]) -> Code:
    """Return what counts of an outcome: RELEASED for a job whose image its worker may not read, else ``code``.

    That is no attempt. The image travels from then on, so there is nothing to be refused again: a second time counts.
    """
    if code != Code.TROUBLED or why.get("unread") is not True or job.unread:
        return code
    job.unread = True
    return Code.RELEASED
