"""The protocol as a state machine: any step may be repeated, come late, be lost, or be overtaken half-way.

Runner, sweep, submission, cancelling and webhooks are the real ones, over the stores in memory. Between them
and each store stands a `Faulty`, which breaks a chosen call: as an outage before the call or after it (the
answer is lost), as the death of the process before or after it, or as a long pause, in which leases run out
and others do whole steps of their own, so that who wakes up is a zombie.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shared import delivery, gate, maintenance, redelivery, runner, signing, webhooks
from shared.audience import Audience
from shared.cancellation import cancel
from shared.errors import Conflict, NotFound, StorageUnavailable, WorkerStopped
from shared.lease import Halt
from shared.messages import from_wire
from shared.names import DELIVERIES_QUEUE, poison_queue
from shared.ports import Row, Sent, Stored
from shared.rounds import Rounds
from shared.runner import Terms
from shared.submission import Submission, submit
from shared.subscriptions import DEFAULT_TYPES, Subscription, matches
from shared.tasks import EVENT_OF, FINAL, Task, TaskStatus, utc_now
from shared.webhooks import Wish
from tests.services import memory_services, registered

CLIENT, QUEUE = "acme", "acme-tasks"
POISON = poison_queue(QUEUE)
URL = "https://example.com/hook"
OTHER_URL = "https://other.example.com/hook"
NEW_URL = "https://new.example.com/hook"
MAX_ATTEMPTS = 3
MAX_DEQUEUE = 5
LEASE_SECONDS = 0.9
"""Shorter than the pause between two tries of a last write, so that no test waits for one."""
LONG_AGO = timedelta(hours=2)
ROUNDS = 40
MOST_TASKS = 3


class Killed(BaseException):
    """The process is gone. Nothing in the code under test catches this."""


@dataclass(frozen=True)
class Fault:
    """What befalls the `call`-th call to a store from now on."""

    call: int
    kind: str


KINDS = ("outage", "answer lost", "killed before", "killed after", "overtaken", "doubled")
FAULTS = st.none() | st.builds(Fault, st.integers(1, 8), st.sampled_from(KINDS))
DEATHS = st.builds(Fault, st.integers(3, 6), st.sampled_from(("killed before", "killed after")))
SLEEPS = st.builds(Fault, st.integers(1, 6), st.sampled_from(("overtaken", "doubled")))
SCRIPTS = st.sampled_from(
    (
        [],
        [],
        [],
        ["ModelUnavailable"],
        ["DocumentCorrupt"],
        ["ConversionCrashed", "ConversionCrashed"],
        ["InternalError"] * MAX_ATTEMPTS,
    )
)

ANSWERS = st.sampled_from(([], [], [Sent(500)], [Sent(500)], [Sent(None, "timeout")], [Sent(410)]))
VERY_LONG = timedelta(days=2)
"""After so long the sweep takes a message for lost."""


class Plan:
    """Counts the calls of all stores, and strikes once."""

    def __init__(self) -> None:
        self._fault: Fault | None = None
        self._calls = 0
        self._dead = False
        self.meanwhile: Callable[[str], None] = lambda _: None

    @contextmanager
    def striking(self, fault: Fault | None) -> Iterator[None]:
        self._fault, self._calls = fault, 0
        try:
            yield
        finally:
            self._fault, self._dead = None, False

    def call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            return method(
                *args, **kwargs
            )  # a heartbeat: it comes when it likes, and must not shift the count
        if self._dead:
            raise Killed  # who is dead does not tidy up
        self._calls += 1
        if self._fault is None or self._calls != self._fault.call:
            return method(*args, **kwargs)
        kind, self._fault = self._fault.kind, None
        self._dead = kind.startswith("killed")
        if kind in {"outage", "killed before"}:
            raise StorageUnavailable if kind == "outage" else Killed
        if kind in {"overtaken", "doubled"}:
            self.meanwhile(kind)
            return method(*args, **kwargs)
        method(*args, **kwargs)
        raise StorageUnavailable if kind == "answer lost" else Killed


class Faulty:
    """A store whose calls go through the plan."""

    def __init__(self, store: Any, plan: Plan) -> None:
        self._store = store
        self._plan = plan

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        return lambda *args, **kwargs: self._plan.call(method, *args, **kwargs)


def _robs(held: Task, after: Task) -> bool:
    """Whether a write takes a task from its holder: no holder gives its own away, or says that it is lost."""
    lost = after.error is not None and after.error.code == "worker_lost"
    return lost or after.owner not in {None, held.owner}


class Protocol(RuleBasedStateMachine):
    """Hosts, clients and a clock around one client's tasks. What their processes know of webhooks is old at
    times: those that a client makes are made in a process of its own."""

    @initialize(wanted=st.sampled_from((("task.*",), DEFAULT_TYPES)))
    def begin(self, wanted: tuple[str, ...]) -> None:
        self.registration = registered("scripted", "tests.scripted")
        self.registration.__enter__()
        self.patience, gate.PATIENCE_SECONDS = gate.PATIENCE_SECONDS, 0  # nobody else runs meanwhile
        self.stores = memory_services(
            {
                "TASK_MAX_ATTEMPTS": str(MAX_ATTEMPTS),
                "WEBHOOK_RETRY_SECONDS": "0",
                "WEBHOOK_COOLDOWN_SECONDS": "0",
            }
        )
        self.stores.settings = self.stores.settings.model_copy(update={"task_lease_seconds": LEASE_SECONDS})
        signing.client_secret(self.stores, CLIENT)
        self.plan = Plan()
        self.plan.meanwhile = self._others_go_on
        self.webhook, _ = webhooks.create(self.stores, CLIENT, Wish(url=OTHER_URL, event_types=wanted))
        names = ("tasks", "queues", "blobs", "dead_letters", "secrets", "receivers", "deliveries")
        broken: dict[str, Any] = {name: Faulty(getattr(self.stores, name), self.plan) for name in names}
        self.services = replace(self.stores, **broken)
        subscriptions: Any = Faulty(self.stores.subscriptions, self.plan)
        self.services.subscriptions = subscriptions
        self.services.rounds = Rounds()
        self.accepted: set[str] = set()
        self.messages: list[bytes] = []
        self.history: dict[str, list[Task]] = {}
        self.robbed: list[Task] = []
        self.began = utc_now()
        self.wishes: dict[str, int] = {}
        self.recovered: Subscription | None = None
        self.types: dict[tuple[str, int], str] = {}
        self.newcomer: Subscription | None = None
        self.missed: dict[str, int] = {}
        self._watch()

    def teardown(self) -> None:
        if hasattr(self, "stores"):
            try:
                self._all_is_well_again()
            finally:
                self.registration.__exit__(None, None, None)
                gate.PATIENCE_SECONDS = self.patience

    def _watch(self) -> None:
        """Every state of every row, in the order in which they were written."""
        store, write = self.stores.tasks, self.stores.tasks._write

        def noted(task: Task) -> Row:
            before = store._rows.get((task.client_id, task.task_id))
            if before and before.task.leased(utc_now()) and _robs(before.task, task):
                self.robbed.append(task)
            self.history.setdefault(task.task_id, []).append(task)
            if task.status in EVENT_OF:
                self.types.setdefault((task.task_id, task.sequence), EVENT_OF[task.status])
            return write(task)

        store._write = noted  # type: ignore[method-assign]

    # --- steps -------------------------------------------------------------------------------------------

    @rule(script=SCRIPTS, fault=FAULTS)
    def a_client_submits(self, script: list[str], fault: Fault | None) -> None:
        if len(self.history) >= MOST_TASKS:
            return  # no precondition: how many there are hangs on chance, and which rules there are must not
        with self._struck(fault):
            accepted = submit(self.services, CLIENT, Submission("scripted", {"errors": script}, URL))
            self.accepted.add(accepted.task.task_id)

    @rule(number=st.integers(0, 1))
    def another_producer_enqueues(self, number: int) -> None:
        if len(self.history) >= MOST_TASKS:
            return
        body = {"task_type": "scripted", "payload": {}, "task_id": f"task-other-{number}", "webhook_url": URL}
        self.stores.queues.put(QUEUE, json.dumps(body).encode())

    @rule(fault=FAULTS)
    def a_worker_takes_a_message(self, fault: Fault | None) -> None:
        with self._struck(fault):
            self._work()

    @rule(faults=st.lists(DEATHS, min_size=1, max_size=MAX_ATTEMPTS))
    def workers_die_one_after_the_other(self, faults: list[Fault]) -> None:
        for fault in faults:
            with self._struck(fault):
                self._work()
            self.time_passes()
            maintenance.sweep(self.stores)

    @rule(fault=FAULTS, last=st.booleans())
    def a_process_with_one_task_is_told_to_stop(self, fault: Fault | None, last: bool) -> None:
        halt = Halt()
        halt.ask(WorkerStopped())
        with self._struck(fault):
            self._work(Terms(halt, last))

    @rule(fault=SLEEPS)
    def a_worker_wakes_up_too_late(self, fault: Fault) -> None:
        with self._struck(fault):
            self._work()

    @rule(fault=FAULTS, answers=ANSWERS)
    def a_webhook_is_delivered(self, fault: Fault | None, answers: list[Sent]) -> None:
        self.stores.sender.answers = list(answers)
        with self._struck(fault):
            self._deliver()
        self.stores.sender.answers = []

    @rule(disabled=st.booleans(), faults=st.lists(st.none() | SLEEPS, min_size=1, max_size=6))
    def a_client_acts_in_the_middle_of_deliveries(self, disabled: bool, faults: list[Fault | None]) -> None:
        if disabled:
            webhooks.change(self.stores, CLIENT, self.webhook.webhook_id, Wish(enabled=False))
        self.stores.sender.answers, before = [Sent(500)] * 6, self._refused()
        for fault in faults:
            self.time_passes()
            with self._struck(fault):
                self._deliver()
        self.stores.sender.answers = []
        if webhooks.find(self.stores, CLIENT, self.webhook.webhook_id) == self.recovered:
            assert self._refused() <= before

    @rule()
    def another_webhook_is_made(self) -> None:
        """It is told of everything from now on, and perhaps of what happened a moment ago."""
        if self.newcomer is None:
            self.newcomer, _ = webhooks.create(self.stores, CLIENT, Wish(url=NEW_URL, event_types=("*",)))
            self.missed = {name: states[-1].sequence for name, states in self.history.items()}

    @rule()
    def a_process_begins_anew(self) -> None:
        """It knows nothing."""
        self.services.audience = Audience()
        self.services.rounds = Rounds()

    @rule(enabled=st.booleans(), fault=FAULTS)
    def a_webhook_is_disabled_or_enabled(self, enabled: bool, fault: Fault | None) -> None:
        with self._struck(fault):
            webhooks.change(self.services, CLIENT, self.webhook.webhook_id, Wish(enabled=enabled))

    @rule(fault=FAULTS)
    def what_failed_is_recovered(self, fault: Fault | None) -> None:
        with self._struck(fault), suppress(Conflict):
            self._recover()

    @rule(which=st.integers(0, 1000), fault=FAULTS)
    def one_is_sent_again(self, which: int, fault: Fault | None) -> None:
        with self._struck(fault):
            self._send_again(which)

    def _send_again(self, which: int) -> None:
        names = sorted(one.delivery_id for one in self.stores.deliveries._rows.of_client(CLIENT))
        if names:
            name = names[which % len(names)]
            with suppress(Conflict):
                redelivery.redeliver(self.services, CLIENT, name)
                self.wishes[name] = self._times_sent(name)

    def _recover(self) -> None:
        """Notes the webhook as it was before, if nothing is left to recover."""
        webhook = webhooks.find(self.stores, CLIENT, self.webhook.webhook_id)
        assert redelivery.recover(self.services, CLIENT, webhook.webhook_id, self.began).complete
        self.recovered = webhook

    def _refused(self) -> set[str]:
        """What was given up because the webhook was disabled."""
        found = self.stores.deliveries._rows.of_client(CLIENT)
        mine = (one for one in found if one.webhook_id == self.webhook.webhook_id)
        return {one.delivery_id for one in mine if one.reason == "webhook_disabled"}

    def _times_sent(self, delivery_id: str) -> int:
        return sum(headers["webhook-id"] == delivery_id for _, _, headers in self.stores.sender.sent)

    @rule()
    def the_queue_of_deliveries_is_lost(self) -> None:
        self.stores.queues._queues.pop(DELIVERIES_QUEUE, None)

    @rule(fault=FAULTS)
    def the_sweep_comes(self, fault: Fault | None) -> None:
        with self._struck(fault):
            maintenance.sweep(self.services)

    @rule(which=st.integers(0, 1000), fault=FAULTS)
    def a_client_cancels(self, which: int, fault: Fault | None) -> None:
        names = sorted(self.history)
        if names:
            with self._struck(fault), suppress(Conflict, NotFound):
                cancel(self.services, CLIENT, names[which % len(names)])

    @rule(which=st.integers(0, 1000))
    def an_old_message_comes_again(self, which: int) -> None:
        if self.messages:
            self.stores.queues.put(QUEUE, self.messages[which % len(self.messages)])

    @rule(which=st.integers(0, 1000))
    def the_host_gives_a_message_up(self, which: int) -> None:
        if self.messages:
            self.stores.queues.put(POISON, self.messages[which % len(self.messages)])

    @rule()
    def time_passes(self) -> None:
        """What was put off is due, leases have run out, messages that were not deleted are visible."""
        store = self.stores.tasks
        for name, row in store._rows.items():
            moments = {"lease_until", "next_attempt_at", "check_at"}
            earlier = {
                moment: min(getattr(row.task, moment), utc_now() - LONG_AGO)
                for moment in moments
                if getattr(row.task, moment) is not None
            }
            store._rows[name] = Row(row.task.model_copy(update=earlier), row.etag)
        for lying in self.stores.queues._queues.values():
            for message in lying:
                message.visible_at = 0.0
        self.stores.blobs._locks.clear()
        receivers = self.stores.receivers._rows._rows
        for name, held in receivers.items():
            receivers[name] = Stored(held.value.released(), held.etag)
        deliveries = self.stores.deliveries._rows._rows
        for name, stored in deliveries.items():
            if stored.value.pending:
                earlier = stored.value.model_copy(update={"next_attempt_at": utc_now() - VERY_LONG})
                deliveries[name] = Stored(earlier, stored.etag)

    def _others_go_on(self, kind: str) -> None:
        """While somebody is stopped in the middle of a step: leases run out, or its message comes
        twice, and a copy is given up by the host."""
        if kind == "overtaken":
            self.time_passes()
        elif self.messages:
            for queue in (QUEUE, POISON):
                self.stores.queues.put(queue, self.messages[-1])
        steps = (
            self._work,
            lambda: maintenance.sweep(self.services),
            self._work,
            lambda: self._wishes(kind),
            self._deliver,
        )
        for step in steps:
            with suppress(StorageUnavailable):
                step()

    def _wishes(self, kind: str) -> None:
        """The client mends its webhook, and asks for what failed, or for each delivery by itself."""
        name = self.webhook.webhook_id
        webhooks.change(self.services, CLIENT, name, Wish(enabled=True))
        if kind == "overtaken":
            self._recover()
            return
        for which in range(len(self.stores.deliveries._rows.of_client(CLIENT))):
            self._send_again(which)

    @contextmanager
    def _struck(self, fault: Fault | None) -> Iterator[None]:
        with self.plan.striking(fault), suppress(StorageUnavailable, Killed):
            yield

    def _work(self, terms: Terms | None = None) -> None:
        """A host and its next message: run and delete it, or leave it, and give it up after some times."""
        for received in self.stores.queues.receive(QUEUE, 1):
            body = from_wire(received.text)
            self.messages.append(body)
            if received.dequeue_count > MAX_DEQUEUE:
                self.stores.queues.put(POISON, body)
            else:
                runner.run(self.services, CLIENT, body, message_id=received.id, terms=terms)
            self.stores.queues.delete(QUEUE, received)

    def _deliver(self) -> None:
        for received in self.stores.queues.receive(DELIVERIES_QUEUE, 1):
            delivery.deliver(self.services, from_wire(received.text))
            self.stores.queues.delete(DELIVERIES_QUEUE, received)

    # --- what always holds -------------------------------------------------------------------------------

    @invariant()
    def what_has_ended_has_ended(self) -> None:
        for states in getattr(self, "history", {}).values():
            for before, after in pairwise(states):
                if before.status in FINAL:
                    assert (after.status, after.result_blob, after.error) == (
                        before.status,
                        before.result_blob,
                        before.error,
                    )

    @invariant()
    def counts_go_up_and_stay_below_the_limit(self) -> None:
        for states in getattr(self, "history", {}).values():
            assert max(task.attempt for task in states) <= MAX_ATTEMPTS
            for before, after in pairwise(states):
                assert after.attempt >= before.attempt
                assert after.seq >= before.seq
                assert after.sequence >= before.sequence

    @invariant()
    def nobody_takes_a_task_that_is_held(self) -> None:
        assert getattr(self, "robbed", []) == []

    @invariant()
    def who_holds_a_task_has_a_lease(self) -> None:
        for states in getattr(self, "history", {}).values():
            held = states[-1].status in {TaskStatus.RUNNING, TaskStatus.CANCELLING}
            assert held == (states[-1].owner is not None) == (states[-1].lease_until is not None)

    # --- the end -----------------------------------------------------------------------------------------

    def _all_is_well_again(self) -> None:
        """Without faults everything comes to its end, in so many rounds, whatever happened before. Then the
        client asks for what failed."""
        self._come_to_an_end()
        self._wishes_were_heard()
        for webhook in (self.webhook, *([self.newcomer] if self.newcomer else [])):
            webhooks.change(self.services, CLIENT, webhook.webhook_id, Wish(enabled=True))
            assert redelivery.recover(self.services, CLIENT, webhook.webhook_id, self.began).complete
        for one in self.stores.deliveries._rows.of_client(CLIENT):
            if one.status == "failed":
                assert one.webhook_id is None
                redelivery.redeliver(self.services, CLIENT, one.delivery_id)
        self._come_to_an_end()
        assert self.accepted <= set(self.history)
        for states in self.history.values():
            self._is_true(states[-1])

    def _wishes_were_heard(self) -> None:
        """What was to be sent again was sent since, or there is a reason. What had failed for a webhook that
        was open when everything was recovered, and is the same since, has not failed for want of that."""
        if webhooks.find(self.stores, CLIENT, self.webhook.webhook_id) == self.recovered:
            assert not self._refused()
        for one in self.stores.deliveries._rows.of_client(CLIENT):
            if one.delivery_id in self.wishes:
                sent = self._times_sent(one.delivery_id) > self.wishes[one.delivery_id]
                assert sent or one.status == "delivered" or one.reason in {"gone", "webhook_disabled"}

    def _come_to_an_end(self) -> None:
        for _ in range(ROUNDS):
            self.time_passes()
            maintenance.sweep(self.services)
            while self._visible(QUEUE):
                self._work()
            while self._visible(DELIVERIES_QUEUE):
                self._deliver()
            if self._quiet():
                break
        assert self._quiet(), [
            row.task for row in self.stores.tasks._rows.values() if row.task.needs_attention
        ]
        self.what_has_ended_has_ended()
        self.counts_go_up_and_stay_below_the_limit()

    def _visible(self, queue: str) -> bool:
        return self.stores.queues.oldest(queue) is not None

    def _quiet(self) -> bool:
        queues = (QUEUE, POISON, DELIVERIES_QUEUE)
        rows = self.stores.tasks._rows.values()
        return (
            all(self.stores.queues.depth(queue) == 0 for queue in queues)
            and not any(row.task.needs_attention for row in rows)
            and not any(one.pending for one in self.stores.deliveries._rows.of_client(CLIENT))
        )

    def _is_true(self, task: Task) -> None:
        """The last state of a task, its result, its dead letter, and what its client was told of it."""
        letters = [
            one
            for one in self.stores.dead_letters.page(CLIENT, limit=999).items
            if one.task_id == task.task_id
        ]
        assert len(letters) == task.dead_lettered
        if task.status is TaskStatus.SUCCEEDED:
            assert task.result_blob is not None
            assert json.loads(self.stores.blobs.read(task.result_blob)) == {"attempt": task.attempt}
            assert task.error is None
        if task.status is TaskStatus.FAILED:
            assert task.error is not None
        assert task.webhook is not None and task.webhook.status == "delivered"
        sent = self._sent(URL, task)
        assert sent
        assert {name for name, _ in sent} == {sent[0][0]}
        assert all(told["type"] == f"task.{task.status}" for _, told in sent)
        told = self._webhook_was_told(task, OTHER_URL, self._wanted(task, self.webhook))
        if self.newcomer is not None:
            missed = self.missed.get(task.task_id, 0)
            later = {sequence for sequence in self._wanted(task, self.newcomer) if sequence > missed}
            told += self._webhook_was_told(task, NEW_URL, later, also=missed)
        log = self.stores.deliveries.of_task(CLIENT, task.task_id, limit=200).items
        assert len(log) == told + 1
        assert {delivery.status for delivery in log} == {"delivered"}

    def _wanted(self, task: Task, webhook: Subscription) -> set[int]:
        """The events of the task that a webhook wants."""
        return {
            sequence
            for (task_id, sequence), type in self.types.items()
            if task_id == task.task_id and any(matches(pattern, type) for pattern in webhook.event_types)
        }

    def _webhook_was_told(self, task: Task, url: str, wanted: set[int], also: int = 0) -> int:
        """Of these events, each under an id of its own. How many they were, with those up to `also`."""
        events = {(name, told["data"]["sequence"]) for name, told in self._sent(url, task)}
        sequences = sorted(sequence for _, sequence in events)
        assert wanted <= set(sequences) <= wanted | set(range(1, also + 1))
        assert len(sequences) == len(set(sequences)) == len({name for name, _ in events})
        return len(events)

    def _sent(self, url: str, task: Task) -> list[tuple[str, dict[str, Any]]]:
        found = [(headers, json.loads(body)) for to, body, headers in self.stores.sender.sent if to == url]
        return [
            (headers["webhook-id"], told)
            for headers, told in found
            if told["data"]["task_id"] == task.task_id
        ]


Protocol.TestCase.settings = settings(
    max_examples=200, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestProtocol = Protocol.TestCase
