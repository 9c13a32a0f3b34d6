"""A process of zgrid whose wall clock a test can set.

``python skewed.py ROLE ...`` is ``zgrid ROLE ...`` with a wall clock that is ahead by as many ms as the file says that
CLOCK_AHEAD_FILE in the environment names, at any moment. The monotonic clock stays what it is, as when an operator, or
NTP, sets the clock of a machine.
"""

import os
import sys
import time
from pathlib import Path

AHEAD_FILE = "CLOCK_AHEAD_FILE"
"""In the environment: the file that says by how many ms the wall clock is ahead of the true one."""


def set_ahead(path, ms):
    """Set the clocks of all processes that look at this file."""
    draft = path.with_suffix(".new")
    draft.write_text(str(ms))
    draft.replace(path)


def main():
    """Replace the wall clock, wherever Python's is asked, then be zgrid."""
    path, true_ns = Path(os.environ[AHEAD_FILE]), time.time_ns
    time.time_ns = lambda: true_ns() + int(path.read_text()) * 1_000_000
    time.time = lambda: time.time_ns() / 1e9

    from zgrid.cli import main as zgrid  # noqa: PLC0415  only now: nobody may have taken the clock before

    zgrid(sys.argv[1:])


if __name__ == "__main__":
    main()
