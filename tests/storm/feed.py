"""New work for the whole of a chaos run: images that are put, and files that appear; and a record of all of them."""

import os
import random
from functools import cached_property
from threading import Thread
from urllib.parse import unquote

from cargo import Deck, Parcel

from zgrid import Client
from zgrid.errors import RefusedError, ZGridError
from zgrid.transport.client import UnansweredError

CHAIN = "marked derived"
CHAINS = (None, None, None, "marked:work_ms=2 derived", "marked")
"""Of images that are put; None is the ventilator's own."""

BATCHES_PER_S = 1.6
BATCH_MAX = 30
BACKLOG_JOBS_MAX = 1000
"""With more open jobs than these a feeder waits: disks must not fill by themselves in a long run."""

PATIENCE_MS = 2500
AGAIN_S = 0.3
AGAIN_SHARE = 0.05
"""How many of the batches are put a second time, some later, which must find the same jobs."""


class Feeder(Thread):
    """Feeds one ventilator. ``parcels``: by batch and in order, all that it must have in the end."""

    def __init__(self, storm, ventilator):
        super().__init__(name=f"feeder of {ventilator.name}", daemon=True)
        self.storm = storm
        self.ventilator = ventilator
        self.chance = random.Random(f"{storm.seed}/feed/{ventilator.name}")
        self.deck = Deck(self.chance, storm.flaky, storm.share_of(ventilator.name))
        self.parcels = []
        self.batches = 0
        self.unanswered = self.refused = self.repeated = 0

    @cached_property
    def by_name(self):
        """Return the parcels by name: to be asked for when there will be no more."""
        return {parcel.name: parcel for parcel in self.parcels}

    def run(self):
        """Feed until the storm is over; what was begun is brought to its end."""
        with self.storm.watched(self.name):
            while not self.storm.over.wait(self.chance.expovariate(BATCHES_PER_S)):
                if self.ventilator.open_jobs > BACKLOG_JOBS_MAX:
                    continue
                batch = self._batch()
                if self.chance.random() < 0.5:
                    self._put(batch)
                else:
                    self._write(batch)

    def _batch(self):
        """Return new images that have no job yet."""
        self.batches += 1
        parcels = []
        for number in range(self.chance.randint(1, BATCH_MAX)):
            name = f"{self.ventilator.name}-b{self.batches:05d}-{number:03d}.jpg"
            parcels.append(Parcel(name, self.deck.words(name), CHAIN))
        return parcels

    def _put(self, batch):
        terms = {
            "chain": self.chance.choice(CHAINS),
            "priority": self.chance.choice((0, 0, 0, -3, 7)),
            "delay_s": self.chance.choice((0.0, 0.0, 0.0, 0.4, 3.0)),
            "ttr_ms": self.chance.choice((None, None, 1500)),
            "attempts": self.chance.choice((None, None, None, 5)),
        }
        for parcel in batch:
            parcel.chain = terms["chain"] or CHAIN
        again = self.chance.random() < AGAIN_SHARE
        placed = self._until_put(batch, terms)
        for parcel, one in zip(batch, placed, strict=True):
            parcel.seq = one.job
        self.parcels += batch
        if again:
            self.repeated += 1
            for parcel, one in zip(batch, self._until_put(batch, terms), strict=True):
                if one.job != parcel.seq or not one.known:
                    self.storm.wrong(f"{parcel.name} was put as job {parcel.seq}, and again as {one}")

    def _until_put(self, batch, terms):
        """Put images again and again until the answer comes: who has none does not know whether they are there."""
        while True:
            try:
                with Client(self.ventilator.address, PATIENCE_MS) as client:
                    return list(client.put_many([(one.name, one.data) for one in batch], **terms))
            except UnansweredError:
                self.unanswered += 1
            except RefusedError:
                self.refused += 1
            except ZGridError as error:
                self.storm.wrong(f"images for {self.ventilator.name} are wrong, it says: {error}")
            if self.storm.given_up.wait(AGAIN_S):
                raise TimeoutError(f"{batch[0].name} and those with it were never accepted")

    def _write(self, batch):
        """Have files appear, each at once and whole."""
        for parcel in batch:
            draft = self.storm.drafts / parcel.name
            draft.write_bytes(parcel.data)
            parcel.path = str(self.ventilator.folder / parcel.name)
            os.rename(draft, parcel.path)
        self.parcels += batch
        self.ventilator.listed.extend(parcel.path for parcel in batch)


def name_in(uri):
    """Return the name of the image in a URI."""
    return unquote(uri.rpartition("/")[2])
