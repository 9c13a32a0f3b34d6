"""The processes that a run keeps: how they are ended."""

import signal
import subprocess
import sys

from zgrid.roles.household import Member

STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("here", flush=True)
while True:
    signal.pause()
"""


class Stubborn(Member):
    """A process that will not be asked to stop."""

    def _start(self):
        return subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE)


def test_somebody_in_a_hurry_waits_for_nobody(tmp_path):
    """A process that does not stop is killed as soon as somebody is in a hurry, and when its time is over."""
    for within_s, is_hurried in ((1000.0, True), (0.0, False)):
        member = Stubborn("worker", [], tmp_path / "log")
        assert member.process.stdout.readline() == b"here\n"
        member.end(within_s, lambda is_hurried=is_hurried: is_hurried)
        assert member.process.returncode == -signal.SIGKILL
        member.process.stdout.close()
        member.end(1.0)
