"""The images of a chaos run: each unlike all others, made again from its name, and telling the filters what to do."""

from dataclasses import dataclass, field
from hashlib import sha256

import cv2
import numpy as np
from filters_for_tests import MARK

from zgrid.protocol.job import State, job_key
from zgrid.sources import path_to_uri
from zgrid.store.spool import put_offer

PIXELS = cv2.imencode(".jpg", np.full((8, 8, 3), 128, np.uint8))[1].tobytes()

GOOD = {"keep": 120, "note {name}": 20, "sum": 10, "flaky {folder}/{name}": 4}
UNWANTED = {"discard {name}": 20}
BAD = {"fail {name}": 2, "raise {name}": 1}
POISON = (
    "segv", "exit 9", "leave", "spin", "wait /nowhere/at/all", "eat", "print", "hang_up", "say garbage", "later x",
)  # fmt: skip
"""Crashes, hangs, what eats memory, what breaks the link to the agent, and trouble that never passes."""

ENDS = (
    dict.fromkeys((words.split()[0] for words in GOOD), State.STORED)
    | {"discard": State.DISCARDED}
    | dict.fromkeys((words.split()[0] for words in (*BAD, *POISON)), State.BURIED)
)
"""What the first word of an image's mark leads to, when nobody meddles."""

FIRST_DECK, LATER_DECKS = 2, 40
"""How many times the good images' weights a deck has, for one image of each poison."""


@dataclass(slots=True)
class Parcel:
    """One image. ``seq``: its job where the ventilator has said it; ``asked``: what people wanted done to it."""

    name: str
    words: str
    chain: str
    path: str | None = None
    seq: int | None = None
    asked: set[str] = field(default_factory=set)

    @property
    def verb(self):
        """Return what the image does to its filter."""
        return self.words.split()[0]

    @property
    def end(self):
        """Return the state in which its job must end, when nobody meddles."""
        return ENDS[self.verb]

    @property
    def has_picture(self):
        """Whether its chain makes a picture."""
        return "derived" in self.chain

    @property
    def data(self):
        """Return its bytes."""
        return PIXELS + self.name.encode() + MARK + self.words.encode()

    @property
    def digest(self):
        """Return the digest that the sink must have of it."""
        return sha256(self.data).digest()

    @property
    def uri(self):
        """Return the name of its job."""
        return put_offer(self.name, self.data).uri if self.path is None else path_to_uri(self.path)


def key_of(uri, size, mtime_ns):
    """Return the key under which the sink must have a job, in hex."""
    return job_key(uri, size, mtime_ns).hex()


class Deck:
    """Gives out the words of images: shuffled decks with every kind in it, so that a short run has all of them too.

    ``share``: which part of the poison the first deck has, and of how many parts.
    """

    def __init__(self, chance, folder, share):
        self._chance = chance
        self._folder = folder
        self._poison = POISON[share[0] :: share[1]]
        self._cards = []
        self._times = FIRST_DECK

    def words(self, name):
        """Return the words of the next image."""
        if not self._cards:
            weighed = [*GOOD.items(), *UNWANTED.items(), *BAD.items()]
            self._cards = [words for words, weight in weighed for _ in range(weight * self._times)] + list(self._poison)
            self._chance.shuffle(self._cards)
            self._poison, self._times = POISON, LATER_DECKS
        return self._cards.pop().format(name=name, folder=self._folder)
