"""A new ledger in the place of a damaged one, made of all that can still be read; the old files are kept.

A kill at any step leaves the old ledger, or a whole new one that waits to take its place (``opening.repaired_of``).
"""

import os
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from zgrid.errors import ForeignError, StoreError
from zgrid.store import opening, sqlite
from zgrid.store.check import check
from zgrid.store.lock import FileLock
from zgrid.store.pages import Pages
from zgrid.store.rebuild import Rebuild
from zgrid.store.salvage import Salvage
from zgrid.store.trouble import explained

_BESIDE = ("-wal", "-shm", "-journal")


def repair(path: Path, now_ms: int, lost_chain: str | None = None) -> list[str]:
    """Repair the ledger at ``path``, and say in sentences what became of what was in it.

    A ledger that nothing is wrong with is left as it is. ``lost_chain``: the filters of jobs that have lost theirs.
    ``now_ms`` is wall clock. Raises SettingsError where a ventilator runs or something has to be decided, StoreError
    where the disk refuses; then the ledger is as it was.
    """
    opening.must_exist(path)
    lock = FileLock(
        path.with_name(path.name + ".lock"), f"a ventilator uses the ledger {path}: stop it, then repair the ledger"
    )
    try:
        made = opening.repaired_of(path)
        if made.exists():
            return ["an earlier repair had made the new ledger already", _swapped(path, made, now_ms)]
        if not _is_damaged(path):
            return ["nothing is wrong with it: it is left as it is"]
        found = _made(path, made, now_ms, lost_chain)
        return [*found, _swapped(path, made, now_ms)]
    except OSError as error:
        raise StoreError(
            f"{error.filename or path} cannot be written ({error.strerror}): a repair needs as much room as the ledger"
        ) from error
    finally:
        lock.close()


def _is_damaged(path: Path) -> bool:
    """Whether something is wrong with a ledger. Raises SettingsError where it never was one of ours."""
    try:
        return bool(check(path))
    except ForeignError:
        # Its first page may be all that is wrong: jobs prove themselves.
        with closing(Pages(path)) as pages:
            if next(Salvage(pages).rows("jobs"), None) is None:
                raise
        return True


def _made(path: Path, made: Path, now_ms: int, lost_chain: str | None) -> list[str]:
    """Make the new ledger, whole and on disk, at ``made``."""
    unfinished = path.with_name(path.name + ".repairing")
    _remove(unfinished)
    try:
        with explained(unfinished), closing(Pages(path)) as pages, closing(opening.opened(unfinished)) as db:
            for pragma in ("journal_mode = OFF", "synchronous = OFF"):  # it is of no use before it is whole
                db.execute(f"PRAGMA {pragma}").close()
            found = Rebuild(Salvage(pages), db, now_ms, lost_chain).run()
            sqlite.set_up(db)
        wrong = check(unfinished)
        assert not wrong, f"the repaired ledger is not sound: {wrong}"
        unfinished.chmod(path.stat().st_mode & 0o777)
        _sync(unfinished)
        unfinished.rename(made)
        _sync(path.parent)
    finally:
        _remove(unfinished)
    return found


def _swapped(path: Path, made: Path, now_ms: int) -> str:
    """Move the old files away and the new one into their place; return the sentence that says where they are."""
    earlier = sorted(one for one in path.parent.glob(f"{path.name}.damaged-*") if not one.name.endswith(_BESIDE))
    kept = _free_name(path, now_ms) if path.exists() or not earlier else earlier[-1]
    for beside in ("", *_BESIDE):
        old = path.with_name(path.name + beside)
        if old.exists():
            old.rename(kept.with_name(kept.name + beside))
    made.rename(path)
    _sync(path.parent)
    return f"what it was before is kept as {kept}"


def _free_name(path: Path, now_ms: int) -> Path:
    stamp = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%S")
    names = [f"{path.name}.damaged-{stamp}", *(f"{path.name}.damaged-{stamp}-{number}" for number in range(2, 100))]
    return next(name for name in map(path.with_name, names) if not name.exists())


def _remove(path: Path) -> None:
    for beside in ("", *_BESIDE):
        path.with_name(path.name + beside).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
