"""What a worker's operator allows its children, out of its settings; children themselves load no settings."""

import os
from pathlib import Path

from zgrid.errors import SettingsError
from zgrid.roles.sandbox import Sandbox
from zgrid.settings import WorkerSettings, flag_of


def sandbox_of(settings: WorkerSettings) -> Sandbox:
    """Return what children may do.

    Raises SettingsError for a place that is not there: what comes later cannot be allowed to those that run then.
    """
    for name in ("allow", "child_read", "child_write"):
        for path in getattr(settings, name):
            if not os.path.exists(path):  # noqa: PTH110  where it may not look, pathlib raises
                what = "name what is there; a share must be mounted before the worker starts"
                raise SettingsError(f"{flag_of(name)} {path} does not exist: {what}")
    read = [*settings.child_read, *([Path("/")] if settings.allow_links else [])]
    return Sandbox(
        memory_bytes_max=settings.child_memory_bytes_max,
        cpu_ms=settings.child_cpu_ms,
        network=settings.child_network,
        read=tuple(map(str, read)),
        write=tuple(map(str, settings.child_write)),
    )
