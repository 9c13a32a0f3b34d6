"""What the roles' metrics have in common: how they are opened, and what every role counts."""

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from zgrid.log import Event, Log
from zgrid.metrics.family import Family, Snapshot
from zgrid.roles.notify import Notify
from zgrid.roles.telling import WARNINGS, Telling
from zgrid.settings import SinkSettings, VentilatorSettings, WorkerSettings
from zgrid.transport.loop import Loop
from zgrid.transport.post import Post

if TYPE_CHECKING:
    from zgrid.roles.endpoint import Endpoint

DROPPED = ("unknown", "wrong", "unexpected", "full", "unreachable")


class Stock(NamedTuple):
    """What stands in a role. ``lacking``: why it cannot work now, in one sentence; empty when it can."""

    values: Snapshot
    lacking: str = ""


def open_endpoint(
    settings: VentilatorSettings | WorkerSettings | SinkSettings, role: str, families: tuple[Family, ...], loop: Loop,
    notify: Notify, log: Log, stack: ExitStack,
) -> "Endpoint | None":  # fmt: skip
    """Serve a role's metrics where its settings say, until ``stack`` closes; None where they say nothing.

    Raises SettingsError where nobody can listen there.
    """
    if settings.metrics is None:
        return None
    from zgrid.roles.endpoint import Endpoint  # noqa: PLC0415  a quarter of a second for who does not want it

    endpoint = Endpoint(settings.metrics, role, settings.name, families, loop, notify, log)
    stack.callback(endpoint.close)
    return endpoint


def common(telling: Telling, posts: Iterable[Post], unexpected: int, before: Counter[str] | None = None) -> Snapshot:
    """Return what every role tells. ``before``: what was dropped at sockets that are closed."""
    dropped = Counter(before or {})
    for post in posts:
        dropped.update(post.dropped)
    dropped["unexpected"] += unexpected
    # What waits is said ten times a second while it does, which counts nothing; zgrid_waiting tells of it.
    events = sorted({*WARNINGS, *telling.counts} - {Event.CHAIN_WAITING})
    return {
        "zgrid_log_events_total": {(event.value,): float(telling.counts[event]) for event in events},
        "zgrid_messages_dropped_total": {(reason,): float(dropped[reason]) for reason in DROPPED},
    }


def disk_free(place: str, folder: Path) -> Snapshot:
    """Return the room on a folder's disk, for who is not root; nothing where it cannot be told. May take long."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return {}
    return {"zgrid_disk_free_bytes": {(place,): float(disk.f_bavail * disk.f_frsize)}}
