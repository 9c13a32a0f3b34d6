"""Every metric that a role has, in one table each: its name, what it is, and its labels. Names are an interface.

Whatever has labels has a bounded number of series: the values are from a fixed list (outcomes, reasons, events), from
the settings (sinks, ventilators), or those of who is here now (lanes to workers): a worker that goes takes its series
along. Of chains only the CHAINS_MAX with the most open jobs are told one by one.
"""

from enum import Enum
from typing import NamedTuple

from zgrid.metrics.histogram import Distribution

CHAINS_MAX = 20

OTHERS = "(others)"
"""The chain under which the jobs of all other chains are told."""

LABEL_CHARS_MAX = 128

Value = float | Distribution | dict[tuple[str, ...], float]
"""One number, one histogram, or a number for each combination of labels."""

Snapshot = dict[str, Value]
"""A metric's name -> what stands now."""


class Kind(Enum):
    """What Prometheus may do with a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


class Family(NamedTuple):
    """One metric. A counter's name ends with _total, an info's with _info, and a unit stands at the end of any."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()


_C, _G, _H, _I = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM, Kind.INFO

EVERY_ROLE = (
    Family("zgrid_build_info", _I, "Which zgrid this is, and as what it runs.", ("role", "name", "version", "python")),
    Family("zgrid_ready", _G, "1 when it can work, as /readyz says; 0 while it starts, stops or lacks somebody."),
    Family("zgrid_log_events_total", _C, "What went wrong, by the log's event, held back or not.", ("event",)),
    Family(
        "zgrid_messages_dropped_total", _C,
        "Messages that were not used: unknown, wrong, unexpected; or not sent: full, unreachable.", ("reason",),
    ),
)  # fmt: skip

VENTILATOR = (
    *EVERY_ROLE,
    Family(
        "zgrid_jobs", _G,
        "Jobs in the ledger by state: open ones (ready, delayed, sent, finished) and those closed.", ("state",),
    ),
    Family("zgrid_chain_jobs", _G, "Open jobs by their filters (the chain) and state.", ("chain", "state")),
    Family("zgrid_jobs_accepted_total", _C, "Jobs that the ledger has ever accepted, over all restarts."),
    Family("zgrid_jobs_settled_total", _C, "Jobs closed since the start, once that is on disk.", ("outcome",)),
    Family("zgrid_attempts_total", _C, "Jobs sent to workers, each time that they were."),
    Family(
        "zgrid_resends_total", _C,
        "Jobs that came back unfinished, by what happened: sent again, but for a last attempt.", ("reason",),
    ),
    Family("zgrid_late_total", _C, "Reports and acknowledgements for what was settled or sent elsewhere.", ("what",)),
    Family("zgrid_ledger_commit_seconds", _H, "How long the ledger's commits took."),
    Family("zgrid_ledger_size_bytes", _G, "The ledger's file and its write-ahead log."),
    Family("zgrid_disk_free_bytes", _G, "Room on the disk of the ledger.", ("place",)),
    Family("zgrid_paused", _G, "1 while everything is paused by hand."),
    Family("zgrid_paused_chains", _G, "Chains that are paused by hand."),
    Family("zgrid_scanning", _G, "1 while it looks for images in its sources."),
    Family("zgrid_passed_over_total", _C, "Files in the sources that are no image or too large."),
    Family("zgrid_waiting", _G, "Reasons for which jobs wait, as zgrid status tells them."),
    Family("zgrid_sink_up", _G, "1 while the sink is connected.", ("sink",)),
    Family("zgrid_sink_unsettled_jobs", _G, "Jobs whose results wait for the sink's word.", ("sink",)),
    Family("zgrid_workers", _G, "Workers by the state of their lanes.", ("state",)),
    Family("zgrid_lane_processes", _G, "Children of a worker.", ("worker",)),
    Family("zgrid_lane_pace_jobs_per_second", _G, "A worker's measured pace.", ("worker",)),
    Family("zgrid_lane_credit_jobs", _G, "How many jobs a worker may have, by its pace.", ("worker",)),
    Family("zgrid_lane_sent_jobs", _G, "Jobs in flight: sent to a worker and not reported.", ("worker",)),
    Family("zgrid_lane_unsettled_bytes", _G, "Bytes of images and unstored results at a worker.", ("worker",)),
    Family("zgrid_lane_beat_age_seconds", _G, "Time since a worker's last sign of life.", ("worker",)),
    Family("zgrid_lane_reports_total", _C, "Jobs that a worker has reported over this lane.", ("worker",)),
)  # fmt: skip
"""What a ventilator tells."""

WORKER = (
    *EVERY_ROLE,
    Family("zgrid_worker_jobs_total", _C, "Jobs that the children have done, by outcome.", ("outcome",)),
    Family(
        "zgrid_job_wait_seconds",
        _H,
        "From a job's acceptance until a child was given it, each time that one was.",
    ),
    Family("zgrid_job_read_seconds", _H, "Reading an image where it lies; 0 for those that came in the message."),
    Family("zgrid_job_work_seconds", _H, "The filters' time for one image."),
    Family("zgrid_child_deaths_total", _C, "Children that ended and were replaced.", ("reason",)),
    Family("zgrid_children", _G, "Children by what they do.", ("state",)),
    Family("zgrid_worker_queue_jobs", _G, "Jobs that wait for a child."),
    Family("zgrid_worker_held_bytes", _G, "Results that sinks have not taken yet."),
    Family("zgrid_ventilator_up", _G, "1 while the ventilator has a lane for this worker.", ("ventilator",)),
)
"""What a worker tells."""

SINK = (
    *EVERY_ROLE,
    Family("zgrid_results_stored_total", _C, "Results that are on disk."),
    Family("zgrid_results_duplicate_total", _C, "Results that came again and were on disk already."),
    Family("zgrid_faces_total", _C, "Faces in the results stored."),
    Family(
        "zgrid_sink_commit_seconds", _H, "How long it took to put a batch of results on disk: pictures, rows, commit."
    ),
    Family("zgrid_sink_held_bytes", _G, "Results in memory that are not stored yet."),
    Family(
        "zgrid_sink_held_limit_bytes", _G, "The most that may wait so; then the sink takes no more (held_bytes_max)."
    ),
    Family("zgrid_sink_failing", _G, "1 while the disk or database refuses results, which wait."),
    Family("zgrid_sink_ventilators", _G, "Ventilators that are connected."),
    Family("zgrid_disk_free_bytes", _G, "Room on the disk of the pictures.", ("place",)),
)
"""What a sink tells."""
