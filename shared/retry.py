"""Whether and when a task runs again: one pure decision.

Exponential back-off with full jitter, as in Marc Brooker, "Exponential Backoff And Jitter" (AWS, 2015):
the delay is uniform between nothing and `min(cap, base * 2**(attempt - 1))`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from shared.errors import DocmillError


@dataclass(frozen=True)
class RetryPolicy:
    """`base` and `cap` in seconds."""

    base: float = 5.0
    cap: float = 900.0

    def delay(
        self,
        error: DocmillError,
        attempt: int,
        max_attempts: int,
        *,
        met: int = 0,
        roll: float | None = None,
    ) -> float | None:
        """Seconds until the next attempt, or None to give up.

        `attempt` counts from 1 and is the one that just failed; `met` is how many attempts before it met
        the same error, whatever came between; `roll` in [0, 1) is the jitter, drawn when not given. A
        provider's `retry_after` is the least we wait, up to `cap`: what it asks beyond that is asked again
        by the next attempt.
        """
        if attempt >= max_attempts or met >= error.retries:
            return None
        ceiling = min(self.cap, self.base * 2.0 ** (attempt - 1))
        jitter = random.random() if roll is None else roll  # noqa: S311 - spreading load, not a secret
        return min(self.cap, max(error.retry_after or 0.0, ceiling * jitter))

    def exhausted(self, error: DocmillError, attempt: int, max_attempts: int) -> bool:
        """Whether giving up is for want of attempts (a dead letter) rather than the error's own finality."""
        return error.retryable and attempt >= max_attempts
