"""Telemetry for Prometheus: counters and histograms of this process, spans for nobody.

The processes of one worker share their figures by files, which `prometheus_client` does by itself once
PROMETHEUS_MULTIPROC_DIR names a folder, before it is imported for the first time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from shared import telemetry
from shared.core import label_bounds
from shared.measures import BUCKETS, METRICS, Bounded
from shared.settings import Settings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Histogram


class Prometheus(telemetry.Silent):
    """Adds nothing to the names. What METRICS does not have is not told."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """`registry`: prometheus_client's own by default."""
        from prometheus_client import REGISTRY, Counter, Histogram

        into = registry or REGISTRY
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        for name, metric in METRICS.items():
            if metric.kind == "counter":
                self._counters[name] = Counter(name, metric.help, metric.labels, registry=into)
            else:
                self._histograms[name] = Histogram(
                    name, metric.help, metric.labels, registry=into, buckets=BUCKETS
                )

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        counter = self._counters.get(name)
        if counter is not None and set(labels) == set(METRICS[name].labels):
            with suppress(OSError):  # its file cannot be made or grow: the disk is full, or the folder gone
                (counter.labels(**labels) if labels else counter).inc(amount)

    def observe(self, name: str, seconds: float, /, **labels: str) -> None:
        histogram = self._histograms.get(name)
        if histogram is not None and set(labels) == set(METRICS[name].labels):
            with suppress(OSError):
                (histogram.labels(**labels) if labels else histogram).observe(seconds)


def install(settings: Settings, registry: CollectorRegistry | None = None) -> Callable[[], None]:
    """From now on this process counts for Prometheus. Once in a process; gives what undoes it."""
    return telemetry.install(Bounded(Prometheus(registry), label_bounds(settings)))
