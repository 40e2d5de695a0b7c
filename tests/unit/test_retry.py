"""The retry decision as a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import errors
from shared.errors import DocmillError
from shared.retry import RetryPolicy

POLICY = RetryPolicy()


@pytest.mark.parametrize(
    ("error", "attempt", "met", "delay"),
    [
        (errors.ModelUnavailable(), 1, 0, 5),
        (errors.ModelUnavailable(), 2, 1, 10),
        (errors.ModelUnavailable(), 4, 3, 40),
        (errors.ModelUnavailable(), 5, 4, None),
        (errors.ModelRateLimited(retry_after=60), 1, 0, 60),
        (errors.ModelRateLimited(retry_after=99_999), 1, 0, 900),
        (errors.ConversionCrashed(), 1, 0, 5),
        (errors.ConversionCrashed(), 3, 0, 20),
        (errors.ConversionCrashed(), 2, 1, None),
        (errors.DocumentCorrupt(), 1, 0, None),
        (errors.ModelRejected(), 1, 0, None),
        (errors.TaskTimeout(), 1, 0, 5),
        (errors.InternalError(), 1, 0, 5),
    ],
)
def test_the_longest_delay(error: DocmillError, attempt: int, met: int, delay: float | None) -> None:
    assert POLICY.delay(error, attempt, 5, met=met, roll=1.0) == delay


@given(
    attempt=st.integers(1, 60), roll=st.floats(0, 1, exclude_max=True), asked=st.none() | st.floats(0, 1e6)
)
def test_a_delay_lies_between_nothing_and_the_cap(attempt: int, roll: float, asked: float | None) -> None:
    delay = POLICY.delay(errors.ModelRateLimited(retry_after=asked), attempt, 100, roll=roll)
    assert delay is not None and 0 <= delay <= POLICY.cap
    assert delay >= min(asked or 0, POLICY.cap)


@pytest.mark.parametrize(
    ("error", "attempt", "exhausted"),
    [
        (errors.InternalError(), 5, True),
        (errors.InternalError(), 4, False),
        (errors.DocumentCorrupt(), 5, False),
    ],
)
def test_only_want_of_attempts_exhausts(error: DocmillError, attempt: int, exhausted: bool) -> None:
    assert POLICY.exhausted(error, attempt, 5) is exhausted
