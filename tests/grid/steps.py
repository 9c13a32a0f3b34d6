"""The steps of a job's life as data, and how a test has a process struck exactly at one of them.

A test arms a step with a file in a folder that the processes of its grid know. Whoever passes that step first takes the
file away, writes down when and who it was, and kills or stops itself (``at_step.py``). So what is tested happens at
the step that its name says, on a slow machine and on a fast one.
"""

import json
import os
import signal
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

FOLDER = "STEPS_OF_TEST"
"""The environment variable that names the folder."""


class Action(StrEnum):
    """What a process does to itself."""

    KILL = "kill"
    STOP = "stop"

    @property
    def signal(self):
        """The signal that it sends to itself."""
        return signal.SIGKILL if self is Action.KILL else signal.SIGSTOP


class Charge(StrEnum):
    """Whose attempt counts when a process is killed at a step."""

    NOBODY = "nobody"
    ITS_JOB = "its job"
    """The one that the child was at."""
    LANE_ORDER = "lane order"
    """Those that the dead agent may have begun, which only the order of its lane can tell: one for each child."""


class Step(NamedTuple):
    """A step: ``before`` or ``after`` a method or function (``place``), or ``at`` a point that its class tells of.

    ``message``: only when the call's first argument is of this type. ``since``: only the first time since that other
    step was passed.
    """

    name: str
    role: str
    when: str
    place: str
    charge: Charge = Charge.NOBODY
    message: str = ""
    since: str = ""


STEPS = (
    Step("offers-entered", "ventilator", "after", "zgrid.store.ledger:Ledger.accept"),
    Step("offers-committed", "ventilator", "before", "zgrid.protocol.delivery:Delivery.accepted"),
    Step("on-its-way", "ventilator", "before", "zgrid.transport.lanes:Lanes.send"),
    Step("sent", "ventilator", "after", "zgrid.transport.lanes:Lanes.send"),
    Step("lane-read", "worker", "before", "zgrid.protocol.duty:Duty.work", Charge.LANE_ORDER),
    Step("assigned", "worker", "after", "zgrid.roles.pool:Pool.assign", Charge.LANE_ORDER),
    Step("begun", "child", "before", "__main__:Child._run", Charge.ITS_JOB),
    Step("filtered", "child", "after", "__main__:Child._run", Charge.ITS_JOB),
    Step("ended-unreported", "child", "before", "zgrid.roles.courier:Courier.flush"),
    Step("ended-reported", "child", "after", "zgrid.roles.courier:Courier.flush"),
    Step("returned", "worker", "before", "zgrid.protocol.duty:Duty.returned", Charge.LANE_ORDER),
    Step("pushed", "worker", "after", "zgrid.transport.outbox:Outbox.push", Charge.LANE_ORDER),
    Step("reported", "worker", "after", "zgrid.transport.post:Post.send", Charge.LANE_ORDER, message="Outcomes"),
    Step("outcome-heard", "ventilator", "before", "zgrid.protocol.delivery:Delivery.reported"),
    Step("outcome-counted", "ventilator", "after", "zgrid.protocol.delivery:Delivery.reported"),
    Step("results-read", "sink", "before", "zgrid.protocol.intake:Intake.results"),
    Step("one-picture-written", "sink", "after", "zgrid.store.pictures:_write"),
    Step("pictures-written", "sink", "at move pictures", "zgrid.store.pictures:Pictures"),
    Step("pictures-renamed", "sink", "at sync folders", "zgrid.store.pictures:Pictures"),
    Step("pictures-synced", "sink", "at insert rows", "zgrid.store.results:Results"),
    Step("rows-inserted", "sink", "at commit", "zgrid.store.results:Results"),
    Step("rows-committed", "sink", "after", "zgrid.store.results:Results.insert"),
    Step("stored", "sink", "before", "zgrid.protocol.intake:Intake.stored"),
    Step("acked", "sink", "after", "zgrid.transport.post:Post.send", message="Acks"),
    Step("ack-heard", "ventilator", "before", "zgrid.protocol.delivery:Delivery.stored"),
    Step("ack-entered", "ventilator", "after", "zgrid.store.ledger:Ledger.settle"),
    Step("ack-committed", "ventilator", "after", "zgrid.store.ledger:Ledger.commit", since="ack-entered"),
)
"""Every step, in the order of a job's life."""

BY_NAME = {step.name: step for step in STEPS}


class Strike(NamedTuple):
    """What a struck process wrote before its signal: monotonic seconds, wall clock in ms, and its number."""

    at_s: float
    at_ms: int
    pid: int


def prepare(folder):
    """Make the folder."""
    for name in ("armed", "taken", "struck", "seen"):
        (folder / name).mkdir(parents=True, exist_ok=True)


def arm(folder, step, action, passing=1):
    """Let whoever passes ``step`` be struck, at its passing of this number from now on."""
    for name in ("taken", "struck"):
        (folder / name / step.name).unlink(missing_ok=True)
    draft = folder / f"{step.name}.part"
    draft.write_text(f"{action} {passing}")
    draft.rename(folder / "armed" / step.name)


def struck(folder, step):
    """Return the strike at this step since it was armed last; None while there was none."""
    path = folder / "struck" / step.name
    return Strike(*json.loads(path.read_text())) if path.exists() else None


def seen(folder):
    """Return the names of all steps that were ever passed."""
    return {path.name for path in (folder / "seen").iterdir()}


class Watch:
    """The struck process's side: one step of it, which tells of its passings and strikes when it is armed."""

    def __init__(self, folder: Path, step: Step, at_s, at_ms):
        self._folder, self._step = folder, step
        self._at_s, self._at_ms = at_s, at_ms
        self._armed = folder / "armed" / step.name
        self._passings = 0
        self._is_seen = False

    def passed(self):
        """The process passes the step: kill or stop it here if that is armed."""
        if not self._is_seen:
            self._is_seen = True
            (self._folder / "seen" / self._step.name).touch()
        try:
            action, passing = self._armed.read_text().split()
        except FileNotFoundError:
            self._passings = 0
            return
        self._passings += 1
        if self._passings >= int(passing) and self._take():
            os.kill(os.getpid(), Action(action).signal)

    def _take(self):
        """Take the file away, unless another process or thread was quicker, and say that the strike comes now."""
        try:
            self._armed.rename(self._folder / "taken" / self._step.name)
        except FileNotFoundError:
            return False
        draft = self._folder / f"{self._step.name}.struck"
        draft.write_text(json.dumps(Strike(self._at_s(), self._at_ms(), os.getpid())))
        draft.rename(self._folder / "struck" / self._step.name)
        return True
