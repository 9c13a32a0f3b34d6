"""Settings: one table; flags, environment and TOML follow from it.

A value is looked for in this order: the flag (``--ttr-ms``), the environment (``ZGRID_TTR_MS``), the TOML file named by
``--config`` or ``ZGRID_CONFIG`` (``ttr_ms``, in the role's own table first, such as ``[worker]``), the default. A name
that no role has is refused. Durations are in ms and sizes in bytes, as their names say; a size may be ``32MiB``.
"""

from zgrid.settings.load import load
from zgrid.settings.tables import (
    ROLES,
    Common,
    RunSettings,
    Served,
    SinkSettings,
    VentilatorSettings,
    WorkerSettings,
    flag_of,
    shown_of,
    variable_of,
)
from zgrid.settings.values import Shown, connectable, is_elsewhere, is_ipc, is_local, metrics_place, split_address

__all__ = [
    "ROLES",
    "Common",
    "RunSettings",
    "Served",
    "Shown",
    "SinkSettings",
    "VentilatorSettings",
    "WorkerSettings",
    "connectable",
    "flag_of",
    "is_elsewhere",
    "is_ipc",
    "is_local",
    "load",
    "metrics_place",
    "shown_of",
    "split_address",
    "variable_of",
]
