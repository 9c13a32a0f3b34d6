"""A snapshot as the text that Prometheus reads: OpenMetrics where it asks for that, else the older plain format."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST as PLAIN
from prometheus_client.exposition import generate_latest as plain_text
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPEN_METRICS
from prometheus_client.openmetrics.exposition import generate_latest as open_metrics_text
from prometheus_client.registry import Collector

from zgrid.metrics.family import LABEL_CHARS_MAX, Family, Kind, Snapshot, Value
from zgrid.metrics.histogram import Distribution

UNITS = ("seconds", "bytes")


class Texts:
    """Writes a role's ``families``, and what the kernel says of the process (CPU time, memory, descriptors)."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families
        self._registry = CollectorRegistry(auto_describe=False)
        self._shown = _Shown()
        ProcessCollector(registry=self._registry)
        self._registry.register(self._shown)

    def write(self, snapshot: Snapshot, *, open_metrics: bool) -> tuple[str, bytes]:
        """Return the content type and the text; a metric that the snapshot has not is left out."""
        self._shown.metrics = [_metric(one, snapshot[one.name]) for one in self._families if one.name in snapshot]
        if open_metrics:
            text: bytes = open_metrics_text(self._registry)  # type: ignore[no-untyped-call]
            return OPEN_METRICS, text
        return PLAIN, plain_text(self._registry)


class _Shown(Collector):
    """What is to be written this time."""

    metrics: Sequence[Metric] = ()

    def collect(self) -> Iterator[Metric]:
        """Yield it."""
        yield from self.metrics

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: all names come from one table, which has each of them once."""
        yield from ()


def _metric(family: Family, value: Value) -> Metric:
    name, meaning, labels = family.name, family.meaning, family.labels
    unit = next((unit for unit in UNITS if name.removesuffix("_total").endswith(f"_{unit}")), "")
    if family.kind is Kind.HISTOGRAM:
        assert isinstance(value, Distribution)
        return _histogram(name, meaning, value, unit)
    numbers = value if isinstance(value, dict) else {(): value}
    if family.kind is Kind.INFO:
        info = InfoMetricFamily(name.removesuffix("_info"), meaning)
        for values in numbers:
            info.add_metric([], dict(zip(labels, map(_clean, values), strict=True)))
        return info
    make = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    metric = make(name, meaning, labels=labels, unit=unit)
    for values, number in numbers.items():
        assert not isinstance(number, Distribution)
        metric.add_metric([_clean(one) for one in values], number)
    return metric


def _histogram(name: str, meaning: str, value: Distribution, unit: str) -> Metric:
    bounds = [*map(repr, value.bounds), "+Inf"]
    metric = HistogramMetricFamily(name, meaning, unit=unit)
    metric.add_metric([], list(zip(bounds, accumulate(value.counts), strict=True)), value.total)
    return metric


def _clean(label: str) -> str:
    """Return a label's value as text that can be written, and not too long; peers choose some of them."""
    return label[:LABEL_CHARS_MAX].encode("utf-8", "replace").decode()
