"""What becomes of a job after trouble that may pass: how long it waits, and what is no attempt at all."""

from collections.abc import Iterable, Mapping
from typing import Any

from zgrid.protocol.lane import Job
from zgrid.protocol.messages import Code

RETRY_DELAY_MS = 1000
"""After the first failure; doubles with each."""
RETRY_DELAY_MS_MAX = 300_000

UNREAD_TRIES_MAX = 10
"""So often an image is looked for that its ventilator cannot read for now, with 8.5 minutes of pauses in all: a share
that is not mounted for a while buries nothing."""

UNREAD_JOBS_MAX = 65_536
"""Of so many the tries are remembered; the others begin anew."""


class Unread:
    """How often images could not be read for now: that is no attempt, for no worker has had them.

    Nothing of it is on disk: after a restart the tries begin anew. ``reason``: what the last one's was.
    """

    def __init__(self) -> None:
        self._tries: dict[int, int] = {}
        self.reason = ""

    def __len__(self) -> int:
        return len(self._tries)

    def tried(self, seq: int, reason: str) -> int | None:
        """Count a try, and return how many there were; None after the last one."""
        tries = self._tries.pop(seq, 0) + 1
        if tries >= UNREAD_TRIES_MAX:
            return None
        if len(self._tries) >= UNREAD_JOBS_MAX:
            del self._tries[next(iter(self._tries))]
        self._tries[seq] = tries
        self.reason = reason
        return tries

    def forget(self, seqs: Iterable[int]) -> None:
        """Forget jobs that are closed."""
        if self._tries:
            for seq in seqs:
                self._tries.pop(seq, None)


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
