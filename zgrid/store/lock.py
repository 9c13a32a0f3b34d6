"""One process at a time: a lock that the kernel lets go of when its holder dies, however it dies."""

import fcntl
import os
from pathlib import Path

from zgrid.errors import SettingsError, StoreError


class FileLock:
    """Holds ``path`` (made if it is not there, never removed) until ``close``.

    Raises SettingsError with the sentence ``taken`` where another process holds it, StoreError where it cannot be made.
    """

    def __init__(self, path: Path, taken: str) -> None:
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be made ({error.strerror}): check that its folder exists and may be written to"
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            if isinstance(error, BlockingIOError):
                raise SettingsError(taken) from error
            raise StoreError(f"{path} cannot be locked ({error.strerror}): use a file system that has locks") from error

    @property
    def held(self) -> bool:
        """Whether the lock is still ours."""
        return self._fd >= 0

    def close(self) -> None:
        """Let go; a second time does nothing."""
        if self.held:
            os.close(self._fd)
            self._fd = -1
