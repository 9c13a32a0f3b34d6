"""What the sink does with a batch of results: pictures, then rows, then the commit; only then may it acknowledge.

Killed at any step, it is repaired by doing the batch again: rows that are there stay, pictures are written anew, and a
picture that never got its row is swept up at the next start.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from zgrid.store.pictures import Pictures
from zgrid.store.results import Results
from zgrid.store.tables import FaceRow, ImageRow, Sheet


class Result(NamedTuple):
    """One image's result: its row, its faces, and the picture file's bytes where there is one."""

    row: ImageRow
    faces: Sequence[FaceRow] = ()
    picture: bytes | memoryview | None = None


class Put(NamedTuple):
    """What became of a batch: the keys that are new, and those that were stored before. All may be acknowledged."""

    new: set[bytes]
    known: set[bytes]


class SinkStore:
    """Puts results into ``results`` and ``pictures``, and closes both."""

    def __init__(self, results: Results, pictures: Pictures) -> None:
        self.results = results
        self.pictures = pictures

    def put(self, batch: Sequence[Result]) -> Put:
        """Store what is new of a batch; all of it is on disk when this returns. Of one key twice the first is kept.

        Raises StoreError: then nothing may be acknowledged, and the batch may be put again.
        """
        known = self.results.known([result.row for result in batch])
        new: dict[bytes, Result] = {}
        for result in batch:
            if result.row.key not in known:
                new.setdefault(result.row.key, result)
        drawn = [(key, result.row.media, result.picture) for key, result in new.items() if result.picture is not None]
        if drawn:
            for (key, _, _), path in zip(drawn, self.pictures.save(drawn), strict=True):
                new[key] = new[key]._replace(row=new[key].row._replace(picture=path))
        if new:
            rows = [result.row for result in new.values()]
            self.results.insert(rows, [face for result in new.values() for face in result.faces])
        return Put(set(new), known)

    def put_sheets(self, sheets: Sequence[Sheet]) -> bool:
        """Store rows that have neither faces nor pictures, if all of them are new; else store nothing: ``put`` them.

        Raises StoreError as ``put`` does.
        """
        return self.results.insert_new(sheets)

    def sweep(self) -> Iterator[int]:
        """Remove pictures without a row, a few at each step; see ``Pictures.sweep``."""
        return self.pictures.sweep(self.results.named)

    def close(self) -> None:
        """Close the database and let go of the folder."""
        self.pictures.close()
        self.results.close()
