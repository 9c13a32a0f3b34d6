"""What people do by hand to a running grid, at random, without a pause; and what must have come of it."""

import random
import time
from contextlib import suppress
from threading import Thread

from feed import CHAIN

from zgrid import Client
from zgrid.errors import RefusedError, SettingsError, ZGridError
from zgrid.protocol.job import State
from zgrid.transport.client import UnansweredError

PER_S = 1.5
PATIENCE_MS = 2500
PAUSE_S_MAX = 3.0
RECENT_JOBS = 400
"""Most of what people name is among the last ones: older jobs are closed, and nothing changes those."""

LATE_S = 40.0
"""A question that was not answered may still be, by a ventilator that was stopped for a while."""

CLOSED = {"bury": State.BURIED, "cancel": State.CANCELLED}


class Meddler(Thread):
    """Operates one ventilator. ``decided``: job -> the state that the last answered operation left it in."""

    def __init__(self, storm, ventilator, feeder):
        super().__init__(name=f"meddler with {ventilator.name}", daemon=True)
        self.storm = storm
        self.ventilator = ventilator
        self.feeder = feeder
        self.chance = random.Random(f"{storm.seed}/hands/{ventilator.name}")
        self.decided = {}
        self.murky = set()
        self._all_kicked_at = -LATE_S
        self.done = dict.fromkeys(("bury", "cancel", "kick", "retry", "pause", "look"), 0)
        self.changed = dict.fromkeys(("bury", "cancel", "kick", "retry"), 0)
        self.unanswered = self.refused = 0

    def run(self):
        """Meddle until the storm is over, and leave nothing paused."""
        acts = {"bury": 3, "cancel": 3, "kick": 4, "retry": 3, "pause": 1, "look": 6}
        with self.storm.watched(self.name):
            while not self.storm.over.wait(self.chance.expovariate(PER_S)):
                (what,) = self.chance.choices(list(acts), list(acts.values()))
                with Client(self.ventilator.address, PATIENCE_MS) as client:
                    if what == "pause":
                        self._pause(client)
                    elif what == "look":
                        self._look(client)
                    else:
                        self._operate(client, what)

    def _counted(self, what, call):
        """Return what a call returns; None where it was not answered, or refused for now."""
        try:
            answer = call()
        except UnansweredError:
            self.unanswered += 1
        except RefusedError as error:
            self.refused += 1
            self.storm.note(f"{self.ventilator.name} refuses to {what}: {error}")
        except SettingsError:
            raise
        except ZGridError as error:
            self.storm.wrong(f"{what} at {self.ventilator.name}: {error}")
        else:
            self.done[what] += 1
            return answer
        return None

    # -- operations

    def _operate(self, client, verb):
        parcels = self.feeder.parcels[-RECENT_JOBS:]
        if not parcels:
            return
        how = self.chance.choice(("named", "named", "named", "pattern", "all" if verb == "kick" else "pattern"))
        some = self.chance.sample(parcels, min(len(parcels), self.chance.randint(1, 6)))
        if how == "named":
            names = [self._name_of(parcel) for parcel in some]
            meant, call = some, lambda: getattr(client, verb)(*names, reason="chaos")
        elif how == "pattern":
            batch = some[0].name[: len("v1-b00000")]
            meant = [parcel for parcel in self.feeder.parcels if parcel.name.startswith(batch)]
            call = lambda: getattr(client, verb)(source=f"*/{batch}-*", reason="chaos")  # noqa: E731  as the other
        else:
            meant, call = self.feeder.parcels, lambda: client.kick(everything=True)
        self._remember(verb, meant, self._counted(verb, call))

    def _name_of(self, parcel):
        """Return one of the names that a job has."""
        if parcel.seq is None or self.chance.random() < 0.5:
            return parcel.uri
        return parcel.seq

    def _remember(self, verb, meant, answer):
        """Note what an operation may have done, and what it has. Until it is answered nobody knows."""
        for parcel in meant if verb in CLOSED else ():
            parcel.asked.add(verb)
        if answer is None:
            if meant is self.feeder.parcels:
                self._all_kicked_at = time.monotonic()
                self.murky.update(name for name, state in self.decided.items() if state is State.BURIED)
            else:
                self.murky.update(parcel.name for parcel in meant)
            return
        self.changed[verb] += answer.changed
        by_seq = {parcel.seq: parcel.name for parcel in meant if parcel.seq is not None}
        for seq in answer.jobs:
            name = by_seq.get(seq)
            if name is not None and verb in CLOSED:
                self.decided[name] = CLOSED[verb]
                if verb == "bury" and time.monotonic() - self._all_kicked_at < LATE_S:
                    self.murky.add(name)
            elif name is not None:
                self.decided.pop(name, None)
        if answer.changed > len(answer.jobs):
            self.murky.update(by_seq.values())

    def _pause(self, client):
        chain = self.chance.choice((None, CHAIN))
        with suppress(SettingsError):  # there may be no job of this chain yet
            self._counted("pause", lambda: client.pause(chain, "chaos"))
        self.storm.over.wait(self.chance.uniform(0.1, PAUSE_S_MAX))
        while not self.storm.given_up.is_set() and not resume(self.ventilator):
            pass

    # -- questions

    def _look(self, client):
        """Ask what can be asked; an accepted job must be known from the moment when its put was answered."""
        put = [parcel for parcel in self.feeder.parcels[-RECENT_JOBS:] if parcel.seq is not None]
        if not put:
            return
        parcel = self.chance.choice(put)
        call = self.chance.choice((
            client.status,
            lambda: client.jobs(source=f"*/{parcel.name}", limit=5),
            lambda: client.jobs(self.chance.choice(("ready", "buried", "sent", "stored")), limit=50),
            lambda: client.peek(state="buried"),
            lambda: client.peek(parcel.seq),
            lambda: client.why(parcel.uri),
        ))  # fmt: skip
        try:
            answer = self._counted("look", call)
        except SettingsError as error:
            self.storm.wrong(f"job {parcel.seq} ({parcel.name}) was accepted, but {self.ventilator.name} says: {error}")
            return
        if isinstance(answer, dict) and "evidence" in answer and "job" in answer:
            told = answer["job"]
            if told["uri"].endswith(parcel.name) and told["seq"] != parcel.seq:
                self.storm.wrong(f"{parcel.name} is job {parcel.seq}, but {self.ventilator.name} says {told['seq']}")


def resume(ventilator):
    """Let a ventilator send again; return whether it has answered that nothing is paused."""
    try:
        with Client(ventilator.address, PATIENCE_MS) as client:
            client.resume()
            for chain in client.status()["paused_chains"]:
                client.resume(chain)
            status = client.status()
            return not status["paused"] and not status["paused_chains"]
    except (UnansweredError, RefusedError):
        return False
