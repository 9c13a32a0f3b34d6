"""What a sink's metrics are read from: its machine and its store."""

from pathlib import Path

from zgrid.metrics.family import Snapshot
from zgrid.metrics.histogram import COMMIT_BOUNDS_S, Histogram
from zgrid.protocol.intake import Intake, Store
from zgrid.roles.exposure import Stock, common, disk_free
from zgrid.roles.telling import Telling
from zgrid.transport.post import Post


class SinkMetrics:
    """Counts what nobody else keeps: how long commits took."""

    def __init__(self) -> None:
        self._commits = Histogram(COMMIT_BOUNDS_S)

    def timed(self, token: object, seconds: float) -> None:
        """Note a piece of the store's work, in its thread: those that put a batch on disk are counted."""
        if isinstance(token, Store):
            self._commits.observe((seconds,))

    def stock(self, machine: Intake, telling: Telling, posts: tuple[Post, ...], faces: int, *, failing: bool) -> Stock:
        """Take stock, in the loop's thread."""
        counts = machine.counts
        unexpected = sum(number for name, number in counts.items() if name.startswith("unexpected "))
        return Stock(
            {
                **common(telling, posts, unexpected),
                "zgrid_results_stored_total": float(counts["stored"]),
                "zgrid_results_duplicate_total": float(counts["duplicate"]),
                "zgrid_faces_total": float(faces),
                "zgrid_sink_commit_seconds": self._commits.distribution(),
                "zgrid_sink_held_bytes": float(machine.held_bytes),
                "zgrid_sink_held_limit_bytes": float(machine.held_bytes_max),
                "zgrid_sink_failing": float(failing),
                "zgrid_sink_ventilators": float(len(machine.peers)),
            }
        )

    def look(self, pictures: Path) -> Snapshot:
        """Return what the disk of the pictures says; in a thread."""
        return disk_free("pictures", pictures)
