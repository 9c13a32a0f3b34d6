"""A network cable between two network namespaces, which a test can cut, mend, pull out, and make bad."""

import subprocess

from hub import DEVICE, Hub

NEAR, FAR = "10.0.0.1", "10.0.0.2"


class Cable:
    """Two ends, ``NEAR`` and ``FAR``; the thread that makes it is at the near one until ``stack`` takes it down."""

    def __init__(self, stack):
        self._hub = Hub(stack, "near", "far")
        self.worsen = self._hub.worsen

    @property
    def lost(self):
        """Return how many packets did not arrive."""
        return self._hub.lost

    def far_end(self):
        """What is started inside is at the far end."""
        return self._hub.at("far")

    def cut(self):
        """Lose every packet from now on, also those that are under way."""
        self._hub.cut("far")

    def mend(self):
        """Carry packets again."""
        self._hub.mend("far")

    def pull(self):
        """Take the far end's interface down, as a laptop's that leaves its network: there the way itself is gone."""
        self._set("down")

    def plug(self):
        """Bring the far end's interface up again."""
        self._set("up")

    def _set(self, state):
        with self.far_end():
            subprocess.run(["ip", "link", "set", DEVICE, state], check=True, capture_output=True)
