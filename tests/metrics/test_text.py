"""Metrics as text: readable by the parsers of both formats, whatever names peers have, and named by the conventions."""

import re

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open_metrics
from prometheus_client.parser import text_string_to_metric_families as read_plain

from zgrid.metrics.family import LABEL_CHARS_MAX, SINK, VENTILATOR, WORKER, Family, Kind
from zgrid.metrics.histogram import Histogram
from zgrid.metrics.text import UNITS, Texts

FAMILIES = (
    Family("zgrid_sent_bytes_total", Kind.COUNTER, "Sent."),
    Family("zgrid_lane_pace", Kind.GAUGE, "Pace.", ("worker",)),
    Family("zgrid_wait_seconds", Kind.HISTOGRAM, "Waited."),
    Family("zgrid_build_info", Kind.INFO, "Built.", ("version",)),
    Family("zgrid_absent", Kind.GAUGE, "Not told."),
)
NAMES = ['a"b\\c\nd', "ü€😀", "lone \udcff surrogate", "x" * 1000, "", '{le="1"} 5\n# EOF']


@pytest.mark.parametrize("open_metrics", [True, False])
def test_any_name_can_be_written(open_metrics):
    """Every name a peer may have comes out as one label of one sample, and is not too long."""
    histogram = Histogram((0.5, 1.0))
    histogram.observe([0.25, 0.75, 5.0])
    snapshot = {
        "zgrid_sent_bytes_total": 7.0,
        "zgrid_lane_pace": {(name,): float(number) for number, name in enumerate(NAMES)},
        "zgrid_wait_seconds": histogram.distribution(),
        "zgrid_build_info": {("1.2.3",): 1.0},
    }
    kind, text = Texts(FAMILIES).write(snapshot, open_metrics=open_metrics)
    assert ("openmetrics" in kind) == open_metrics
    told = {one.name: one for one in (read_open_metrics if open_metrics else read_plain)(text.decode())}
    assert told["zgrid_sent_bytes"].samples[0].value == 7
    shown = [sample.labels["worker"] for sample in told["zgrid_lane_pace"].samples]
    assert shown == [name[:LABEL_CHARS_MAX].replace("\udcff", "?") for name in NAMES]
    buckets = {sample.labels["le"]: sample.value for sample in told["zgrid_wait_seconds"].samples if sample.labels}
    assert buckets == {"0.5": 1, "1.0": 2, "+Inf": 3}
    assert "zgrid_absent" not in told
    assert told["process_cpu_seconds"].samples[0].value > 0


def test_the_same_again():
    """What was told once is not told the next time, unless it still stands."""
    texts = Texts(FAMILIES)
    assert b'worker="gone"' in texts.write({"zgrid_lane_pace": {("gone",): 1.0}}, open_metrics=True)[1]
    assert b"gone" not in texts.write({"zgrid_lane_pace": {}}, open_metrics=True)[1]


@pytest.mark.parametrize("table", [VENTILATOR, WORKER, SINK], ids=["ventilator", "worker", "sink"])
def test_names_follow_the_conventions(table):
    """A counter ends with _total and nothing else does, times are in seconds and sizes in bytes; each has a meaning."""
    assert len({one.name for one in table}) == len(table)
    for one in table:
        assert re.fullmatch(r"zgrid_[a-z]+(_[a-z]+)*", one.name)
        assert one.name.endswith("_total") == (one.kind is Kind.COUNTER), one.name
        assert one.name.endswith("_info") == (one.kind is Kind.INFO), one.name
        assert not re.search(r"_(ms|milli|mib|mb|kb|minutes|hours|percent)(_|$)", one.name)
        assert one.kind is not Kind.HISTOGRAM or one.name.endswith(UNITS), one.name
        assert one.meaning.endswith(".")
