"""How fast a provider is asked, by a clock that does not tick; then the threads at the gate."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared import deadline
from shared.errors import ModelRateLimited, TaskTimeout
from shared.providers.pace import (
    BEARABLE,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    LONGEST_QUIET,
    Gate,
    Left,
    Pace,
    quotas,
    seconds,
)


def busy(pace: Pace, requests: int) -> Pace:
    pace.under_way = requests
    return pace


def test_as_many_as_allowed_begin_at_once_and_no_more() -> None:
    pace = Pace(3)
    assert [busy(pace, n).wait(0) for n in range(4)] == [0, 0, 0, math.inf]


def test_a_refusal_halves_what_is_under_way_and_makes_all_wait() -> None:
    pace = Pace(8)
    pace.refused(began=0, now=1, asked=7.5)
    assert (pace.window, pace.wait(1), pace.wait(8.5)) == (4, 7.5, 0)
    assert busy(pace, 4).wait(9) == math.inf


def test_requests_that_are_refused_together_are_one_sign() -> None:
    pace = Pace(8)
    for began in (0.0, 0.1, 0.2, 0.3):
        pace.refused(began, now=1, asked=None)
    assert (pace.window, pace.wait(1)) == (4, FIRST_PAUSE)
    pace.refused(began=2, now=3, asked=None)
    assert (pace.window, pace.wait(3)) == (2, 2 * FIRST_PAUSE)


def test_one_request_is_always_allowed() -> None:
    pace = Pace(8)
    for began in range(10):
        pace.refused(began, now=began + 0.5, asked=0)
    assert pace.window == 1


def test_pauses_grow_up_to_the_longest_and_begin_anew_after_a_good_answer() -> None:
    pace, pauses = Pace(8), []
    for round_ in range(7):
        now = round_ * 100.0
        pace.refused(now, now, asked=None)
        pauses.append(pace.wait(now))
    assert pauses == [1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE]
    pace.answered(1000, 1, {})
    pace.refused(1001, 1001, asked=None)
    assert pace.wait(1001) == FIRST_PAUSE


def test_good_answers_give_back_one_for_each_round_and_never_more_than_allowed() -> None:
    pace = Pace(8)
    pace.refused(0, 1, 0)
    windows = []
    for _ in range(40):
        pace.answered(2, 1, {})
        windows.append(pace.window)
    assert windows == sorted(windows)
    assert windows[3] == 4 and windows[5] == 5 and windows[-1] == 8


def test_a_longer_pause_is_not_cut_by_a_shorter_one() -> None:
    pace = Pace(8)
    pace.refused(0, 1, asked=20)
    pace.refused(0, 2, asked=1)
    assert pace.wait(2) == 19


@pytest.mark.parametrize(
    ("quota", "cost", "wait"),
    [
        (Left(left=5, limit=10, reset=30), 1, 0),
        (Left(left=0, limit=60, reset=60), 1, 1),
        (Left(left=100, limit=1100, reset=10), 600, 5),
        (Left(left=100, limit=1100, reset=10), 9999, 10),
        (Left(left=0, limit=None, reset=12), 1, 12),
    ],
)
def test_how_long_until_a_quota_suffices(quota: Left, cost: float, wait: float) -> None:
    assert quota.wait(cost) == pytest.approx(wait)


def test_a_quota_that_is_used_up_makes_all_wait_before_anybody_is_refused() -> None:
    pace = Pace(8)
    pace.answered(0, 500, {"requests": Left(100, 100, 0), "tokens": Left(0, 1000, 10)})
    assert (pace.window, pace.wait(0)) == (8, 5)
    pace.answered(10, 500, {"tokens": Left(0, None, 86_400)})
    assert pace.wait(10) == LONGEST_PAUSE


def test_headers() -> None:
    assert quotas({}) == {}
    assert quotas({"x-ratelimit-remaining-requests": "many"}) == {}
    found = quotas(
        {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "59",
            "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-remaining-tokens": "149984",
            "x-ratelimit-limit-tokens": "150000",
            "x-ratelimit-reset-tokens": "6m0s",
        }
    )
    assert found == {"requests": Left(59, 60, 1), "tokens": Left(149984, 150000, 360)}
    azure = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-limit-requests": "10"}
    assert quotas(azure)["requests"] == Left(0, 10, FIRST_PAUSE)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1s", 1), ("120ms", 0.12), ("6m0s", 360), ("1h2m3.5s", 3723.5), ("20", 20), ("0", 0),
        ("2m", 120), ("", None), (None, None), ("soon", None), ("-1", None), ("1s2h", None),
    ],
)  # fmt: skip
def test_durations(text: str | None, value: float | None) -> None:
    found = seconds(text)
    assert found is None if value is None else found == pytest.approx(value)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_pause_that_is_too_long_is_told_at_once() -> None:
    clock = Clock()
    gate = Gate(Pace(2), clock)
    with gate.turn(until=110) as turn:
        turn.refused(asked=40)
    with pytest.raises(ModelRateLimited) as caught, gate.turn(until=120):
        pass
    assert caught.value.retry_after == 40
    clock.now = 141
    with gate.turn(until=150) as turn:
        turn.refused(asked=BEARABLE + 1)
    with pytest.raises(ModelRateLimited), gate.turn(until=9999):
        pass


def test_no_turn_before_the_deadline() -> None:
    gate = Gate(Pace(1))
    with gate.turn(time.monotonic() + 30), pytest.raises(TaskTimeout), gate.turn(time.monotonic() + 0.05):
        pass
    with gate.turn(time.monotonic() + 30):
        pass


def test_threads_go_through_in_order_and_never_too_many() -> None:
    gate, order, inside, most = Gate(Pace(2)), list[int](), set[int](), list[int]()
    begin = threading.Event()

    def ask(number: int) -> None:
        with gate.turn(time.monotonic() + 30):
            inside.add(number)
            order.append(number)
            most.append(len(inside))
            begin.wait(10)
            inside.discard(number)

    with ThreadPoolExecutor(6) as pool:
        for number in range(6):
            pool.submit(ask, number)
            until = time.monotonic() + 10
            while len(gate._others) + len(inside) <= number and time.monotonic() < until:
                time.sleep(0.001)
        assert inside == {0, 1}
        begin.set()
    assert order[:2] == [0, 1] and sorted(order) == [*range(6)]
    assert max(most) == 2


def test_whoever_a_person_waits_for_goes_first() -> None:
    gate, order = Gate(Pace(1)), list[str]()

    def ask(name: str) -> None:
        with gate.turn(time.monotonic() + 30, urgent=name == "search"):
            order.append(name)

    with ThreadPoolExecutor(3) as pool, gate.turn(time.monotonic() + 30):
        for name in ("chunk", "another chunk", "search"):
            pool.submit(ask, name)
            time.sleep(0.05)
    assert order[0] == "search" and len(order) == 3


def test_whoever_nobody_waits_for_any_more_asks_nothing() -> None:
    gate, asked, checks = Gate(Pace(1)), threading.Event(), iter([60.0, 60.0])

    def ask() -> None:
        with gate.turn(time.monotonic() + 30):
            asked.set()

    with gate.turn(time.monotonic() + 30):
        with pytest.raises(StopIteration):  # the task was cancelled
            deadline.watched(ask, lambda: next(checks))
        until = time.monotonic() + 10
        while gate._others and time.monotonic() < until:
            time.sleep(0.01)
        assert not gate._others
    assert not asked.is_set()


def test_a_refusal_is_believed_for_a_quarter_of_an_hour() -> None:
    pace = Pace(8)
    pace.refused(began=0, now=1, asked=86_400)
    assert pace.wait(1) == LONGEST_QUIET


def test_a_request_that_fails_gives_its_turn_back() -> None:
    gate = Gate(Pace(1))
    for _ in range(3):
        with pytest.raises(KeyError), gate.turn(time.monotonic() + 5):
            raise KeyError
