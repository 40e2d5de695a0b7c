"""Calls at once: how many, in whose thread, and what becomes of the others when one fails."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import pytest

from shared.parallel import completed


class Calls:
    """Calls that end when they are told to."""

    def __init__(self, at_once: int) -> None:
        self.together = threading.Barrier(at_once)
        self.lock = threading.Lock()
        self.inside = self.most = 0
        self.begun: list[int] = []

    def __call__(self, item: int) -> int:
        with self.lock:
            self.begun.append(item)
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.together.wait(10)
        with self.lock:
            self.inside -= 1
        return item * 10


def given(calls: Calls, items: Iterable[int], at_once: int) -> list[tuple[int, int]]:
    return list(completed(calls, items, at_once, lambda: None))


def test_no_more_than_allowed_and_each_with_its_item() -> None:
    calls = Calls(3)
    assert sorted(given(calls, range(9), 3)) == [(n, n * 10) for n in range(9)]
    assert calls.most == 3


def test_one_at_a_time_keeps_the_order() -> None:
    assert given(Calls(1), range(4), 1) == [(n, n * 10) for n in range(4)]


def test_the_next_call_is_at_work_while_the_caller_deals_with_the_one_before() -> None:
    begun = [threading.Event() for _ in range(4)]

    def call(item: int) -> int:
        begun[item].set()
        return item

    for item, _ in completed(call, range(4), 1, lambda: None):
        assert item == 3 or begun[item + 1].wait(10)
        assert not any(event.is_set() for event in begun[item + 2 :])


def test_nothing_to_do() -> None:
    assert given(Calls(1), [], 4) == []


def test_after_a_failure_no_other_begins_and_those_under_way_are_given() -> None:
    begun, seen, looks, released = list[int](), list[int](), list[int](), threading.Event()

    def call(item: int) -> int:
        begun.append(item)
        if item < 0:
            raise KeyError(item)
        released.wait(20)
        return item

    def check() -> None:
        """At the first look the failure is there; at the second it was seen."""
        looks.append(1)
        if len(looks) == 2:
            released.set()

    with pytest.raises(KeyError):
        for item, _ in completed(call, [1, -1, 2, 3, 4], 3, check):
            seen.append(item)
    assert (sorted(begun), sorted(seen)) == ([-1, 1, 2], [1, 2])


def test_the_check_runs_in_the_callers_thread_and_ends_all_at_once() -> None:
    never, threads = threading.Event(), set[threading.Thread]()

    def check() -> None:
        threads.add(threading.current_thread())
        raise TimeoutError

    try:
        with pytest.raises(TimeoutError):
            list(completed(lambda item: never.wait(20), [1, 2], 2, check))
    finally:
        never.set()
    assert threads == {threading.current_thread()}
