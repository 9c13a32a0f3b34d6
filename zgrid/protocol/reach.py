"""Which images a worker reads itself: by the places that it says it may read from, as file: URIs."""

from collections.abc import Iterable, Sequence
from itertools import repeat

_ARCHIVES = ("zip:", "tar:")


class Reach:
    """What lies at or below some places, told by names alone; the worker looks at what is really there."""

    __slots__ = ("_below", "_exact", "places")

    def __init__(self, places: Sequence[str] = ()) -> None:
        self.places = list(places)
        self._exact = frozenset(places)
        self._below = tuple(place if place.endswith("/") else place + "/" for place in places)

    def holds(self, uris: Iterable[str]) -> bool:
        """Whether each of these is surely in here: files below one of the places."""
        return bool(self._below) and all(map(str.startswith, uris, repeat(self._below)))

    def __contains__(self, uri: str) -> bool:
        """Whether the image named by ``uri``, or the archive that it is in, is at or below one of the places."""
        if not self._below:
            return False
        path = uri[4:].partition("!/")[0] if uri.startswith(_ARCHIVES) else uri
        return path.startswith(self._below) or path in self._exact
