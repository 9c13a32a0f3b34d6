"""How a filter that takes long says that it is getting on."""

from collections.abc import Callable

on_touch: Callable[[float | None], None] | None = None
"""Who wants to know; set by the process that runs the filters, None where nobody asks."""


def touch(progress: float | None = None) -> None:
    """Say that the work on this image goes on, and, if known, how much of it is done (0.0 to 1.0).

    Each call starts the job's time-to-run afresh. Costs well under a microsecond, so a loop may call it every round.
    """
    if on_touch is not None:
        on_touch(progress)
