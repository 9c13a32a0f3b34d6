"""Filters for scripts/bench: a worker imports this with --filter-module bench_filters."""

import os
import time

from zgrid.filters import Image, Keep, Outcome
from zgrid.filters import filter as a_filter


@a_filter("wait", version="1")
def wait(image: Image) -> Outcome:  # noqa: ARG001
    """Keep every image after BENCH_WAIT_MS milliseconds, the same for a worker's whole life."""
    time.sleep(float(os.environ["BENCH_WAIT_MS"]) / 1000)
    return Keep()
