"""Python's cycle collector, set for processes that make many objects and no cycles."""

import gc


def relax_collector() -> None:
    """Look for cycles a hundred times less often than usual, and never among what exists already.

    Jobs, rows and messages hold no cycles, and are freed by counting. By default the collector walks over all of them
    after every 700 that are new, which took a sixth of the ventilator's and the sink's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(70_000, 20, 100)
