"""What an error of SQLite means for a ledger: a disk that may be mended while we wait, or a file that is damaged."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from zgrid.errors import DamagedError
from zgrid.store import sqlite


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn every error of SQLite about the ledger at ``path`` into a StoreError, or DamagedError where it is that."""
    try:
        yield
    except sqlite3.Error as error:
        if sqlite.is_damage(error):
            raise damaged(path, str(error)) from error
        raise sqlite.refusal(error, path) from error


def damaged(path: Path, what: str) -> DamagedError:
    """Return the error for a ledger that is not what it was; ``what`` was found."""
    return DamagedError(
        f"the ledger {path} is damaged ({what}): stop its ventilator, then see how it stands with "
        f"zgrid ledger check {quote(str(path))}",
        what=what,
    )
