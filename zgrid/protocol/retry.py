"""What becomes of a job after trouble that may pass: how long it waits, and what is no attempt at all."""

from collections.abc import Mapping
from typing import Any

from zgrid.protocol.lane import Job
from zgrid.protocol.messages import Code

RETRY_DELAY_MS = 1000
"""After the first failure; doubles with each."""
RETRY_DELAY_MS_MAX = 300_000


def retry_delay_ms(failures: int, key: bytes) -> int:
    """Return the wait before the next attempt, in ms: doubling, spread by the key so that jobs do not come at once."""
    delay_ms = min(RETRY_DELAY_MS_MAX, RETRY_DELAY_MS << min(20, failures - 1))
    return delay_ms * (192 + key[1] // 2) // 256


def given_back(job: Job, code: Code, why: Mapping[str, Any]) -> Code:
    """Return what counts of an outcome: RELEASED for a job whose image its worker may not read, else ``code``.

    That is no attempt. The image travels from then on, so there is nothing to be refused again: a second time counts.
    """
    if code != Code.TROUBLED or why.get("unread") is not True or job.unread:
        return code
    job.unread = True
    return Code.RELEASED
