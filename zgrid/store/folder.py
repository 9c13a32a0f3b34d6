"""Folders that an operator names and we make; what stands in the way of one is said in a sentence."""

import errno
from pathlib import Path

from zgrid.errors import FullError, SettingsError, StoreError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says of a disk without room, or an account that may not use more of it."""

_REFUSED = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}
)
"""What it says where nothing can be made, ever; ENOENT is the word of /proc."""


def make_folder(path: Path, what: str) -> None:
    """Make a folder and those above it, unless it is there; ``what`` names it, or the option that does.

    Raises SettingsError where none can be at this path or be made by this user, FullError where the disk has no room
    for it, and StoreError where the disk fails.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise trouble_of(error, path, what) from error


def trouble_of(error: OSError, path: Path, what: str) -> StoreError | SettingsError:
    """Return what an error of the system about the folder ``path`` means, as an error of ours."""
    if error.errno in FULL:
        return FullError(f"no space is left for {what} {path}: free some on its disk, which is full")
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return SettingsError(f"{what} {path} cannot be a folder: there is a file on the way; name another one")
    if error.errno in _REFUSED:
        return SettingsError(f"{what} {path} cannot be made ({error.strerror}): name one that this user may write to")
    return StoreError(f"the disk failed under {what} {path} ({error}): look at the system's log")
