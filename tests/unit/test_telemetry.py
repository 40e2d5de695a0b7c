"""Who is told: nobody, one, several; and what a traceparent is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared import telemetry
from shared.core import Core, label_bounds
from shared.measures import OTHER, Bounded, codes
from shared.settings import read_settings
from shared.telemetry import Silent, ids_of
from tests.recording import Recording

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture
def nobody() -> Iterator[None]:
    """This process is left as it was."""
    before = telemetry._told[:]
    yield
    telemetry._told[:] = before
    telemetry._choose()


def test_silence_passes_on_what_came_in() -> None:
    with Silent().span("submit", traceparent=GIVEN, task_id="t") as span:
        assert span.traceparent == GIVEN
    with Silent().span("submit") as span:
        assert span.traceparent is None


def test_silence_makes_nothing_for_a_span() -> None:
    assert Silent().span("a") is Silent().span("b", attempt=1)


@pytest.mark.usefixtures("nobody")
def test_everybody_who_is_installed_is_told_until_it_is_removed() -> None:
    first, second = Recording(), Recording()
    core = Core(read_settings({}))
    assert isinstance(core.telemetry, Silent)
    remove = telemetry.install(first)
    assert core.telemetry is first
    telemetry.install(second)
    core.telemetry.count("docmill_pages_total", 3)
    core.telemetry.observe("docmill_task_seconds", 1.5, task_type="ingestion")
    with core.telemetry.span("submit", traceparent=GIVEN) as span:
        span.note(task_id="t")
        span.rename("other")
        span.fail("conflict")
    for one in (first, second):
        assert one.counts == {("docmill_pages_total",): 3}
        assert one.times == {("docmill_task_seconds", "ingestion"): [1.5]}
        told = one.named("other")
        assert (told.trace_id, told.parent, told.failed) == (TRACE, SPAN, "conflict")
    remove()
    core.telemetry.count("docmill_pages_total")
    assert first.counts[("docmill_pages_total",)] == 3 and second.counts[("docmill_pages_total",)] == 4


@pytest.mark.usefixtures("nobody")
def test_the_trace_goes_on_below_whoever_makes_spans() -> None:
    recording = Recording()
    telemetry.install(recording)
    telemetry.install(Silent())
    with telemetry.installed().span("submit", traceparent=GIVEN) as span:
        assert ids_of(span.traceparent) != ids_of(GIVEN)
    assert ids_of(span.traceparent) == (TRACE, recording.named("submit").span_id)


@pytest.mark.usefixtures("nobody")
def test_an_exception_reaches_every_span() -> None:
    first, second = Recording(), Recording()
    telemetry.install(first)
    telemetry.install(second)
    with pytest.raises(ValueError), telemetry.installed().span("submit"):
        raise ValueError("a secret")
    assert first.named("submit").failed == second.named("submit").failed == "ValueError"


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "",
        "nonsense",
        GIVEN[:-1],
        GIVEN.upper(),
        f"{GIVEN}\r\nx: y",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
    ],
)
def test_what_is_no_traceparent_has_no_ids(wrong: str | None) -> None:
    assert ids_of(wrong) is None
    assert ids_of(GIVEN) == (TRACE, SPAN)


def test_labels_keep_within_their_bounds() -> None:
    recording = Recording()
    bounded = Bounded(recording, label_bounds(read_settings({"CLIENT_IDS": "acme,beta"})))
    for client in ("acme", "beta", *(f"stranger-{n}" for n in range(1000))):
        labels = {"task_type": f"type-of-{client}", "client": client, "outcome": "failed"}
        bounded.count("docmill_tasks_total", **labels)
    bounded.count("docmill_retries_total", code="timeout")
    bounded.count("docmill_retries_total", code="' or 1=1")
    bounded.count("docmill_conversions_total", format="pdf", outcome="succeeded")
    bounded.count("docmill_conversions_total", format="exe", outcome="failed")
    bounded.observe("docmill_stage_seconds", 1, task_type="unheard-of", stage="convert")
    assert recording.counts == {
        ("docmill_tasks_total", OTHER, "acme", "failed"): 1,
        ("docmill_tasks_total", OTHER, "beta", "failed"): 1,
        ("docmill_tasks_total", OTHER, OTHER, "failed"): 1000,
        ("docmill_retries_total", "timeout"): 1,
        ("docmill_retries_total", OTHER): 1,
        ("docmill_conversions_total", "pdf", "succeeded"): 1,
        ("docmill_conversions_total", OTHER, "failed"): 1,
    }
    assert recording.times == {("docmill_stage_seconds", OTHER, "convert"): [1]}


def test_the_codes_are_those_of_errors_py() -> None:
    assert {"internal", "timeout", "document_corrupt", "worker_lost", "unknown_task_type"} <= codes()
