"""Lines of a log for the tests of what shows them."""

import json

STORED = {
    "time": "2026-03-01T11:22:33.444Z", "level": "info", "event": "job_stored", "role": "sink", "instance": "results",
    "job": 41, "uri": "file:///photos/a%20b.jpg", "worker": "w1", "attempt": 1, "faces": 2, "wait_ms": 12.3,
    "work_ms": 61_234.5, "key": "00ff" * 8,
}  # fmt: skip
GONE = {
    "time": "2026-03-01T11:22:35.000Z", "level": "warning", "event": "worker_gone", "role": "ventilator",
    "instance": "photos", "worker": "w1", "lane": 3, "reason": "its connection closed", "jobs": 4, "count": 17,
}  # fmt: skip
DIED = {
    "time": "2026-03-01T11:22:34.000Z", "level": "warning", "event": "child_died", "role": "worker", "instance": "w1",
    "job": 42, "attempt": 2, "uri": "file:///photos/c.jpg", "signal": 11, "exit": None,
    "stderr": "Fatal Python error\n  File a.py\nSegmentation fault", "again_in_s": 0.5,
}  # fmt: skip


def text(*lines):
    """Return lines as they stand in a log."""
    return "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
