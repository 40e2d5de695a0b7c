"""What becomes of a message that the Logic App takes: its definition, run against queues and Azure in memory.

The definition is run as its language is described, not by Azure. What Azure answers is written down here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from shared import maintenance
from shared.messages import TaskMessage, to_wire
from shared.names import poison_queue, tasks_queue
from shared.ports import Received
from shared.storage.memory import MemoryTaskQueue
from shared.submission import Submission, submit
from shared.tasks import Task, TaskStatus, utc_now
from tests.infra.bicep import read
from tests.infra.deployment import Deployment, deploy
from tests.infra.workflow import Run, Workflow
from tests.services import MemoryServices, memory_services, registered
from worker import one_shot
from worker.errors import StartError

MAIN = Path(__file__).parents[2] / "infra" / "aci" / "main.bicep"
ACCOUNT = "mydocuments"
QUEUE = tasks_queue("acme")
POISON = poison_queue(QUEUE)
SUCCEEDED, FAILED, CANCELLED = "Succeeded", "Failed", "Cancelled"


class RawQueue(MemoryTaskQueue):
    """Takes what is no base64, too."""

    def put_raw(self, queue: str, text: str) -> None:
        self.put(queue, b"")
        lying = self._queues[queue][-1]
        lying.message = replace(lying.message, text=text)

    def all_visible(self) -> None:
        for queue in self._queues.values():
            for lying in queue:
                lying.visible_at = 0

    def texts(self, queue: str) -> list[str]:
        return [lying.message.text for lying in self._queues.get(queue, [])]


@dataclass
class Azure:
    """Container groups by resource id, and the queues of the account."""

    queues: RawQueue
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    refuses: dict[str, tuple[int, Any]] = field(default_factory=dict)
    """Method -> what is answered instead."""

    def http(self, method: str, uri: str, body: Any) -> tuple[int, Any]:
        parts = urlsplit(uri)
        assert parts.netloc == "management.azure.com"
        assert parse_qs(parts.query)["api-version"] == ["2025-09-01"]
        if method in self.refuses:
            return self.refuses[method]
        if method == "PUT":
            self.made.append(parts.path.rsplit("/", 1)[1])
            self.groups[parts.path] = {**body, "id": parts.path, "name": self.made[-1]}
            self.set_state(parts.path, "Pending")
            return 201, {"properties": {"provisioningState": "Pending"}}
        if parts.path.endswith("/containerGroups"):
            return 200, {"value": [_without_state(group) for group in self.groups.values()]}
        if parts.path not in self.groups:
            return 404, {"error": {"code": "ResourceNotFound"}}
        if method == "DELETE":
            return 200, self.groups.pop(parts.path)
        return 200, self.groups[parts.path]

    def set_state(self, path: str, state: str, exit_code: int | None = None, ended: str = "") -> None:
        (container,) = self.groups[path]["properties"]["containers"]
        current = {"exitCode": exit_code, "finishTime": ended} if ended else {}
        container["properties"]["instanceView"] = {"currentState": current}
        self.groups[path]["properties"]["instanceView"] = {"state": state}

    def connector(self, method: str, path: str, queries: dict[str, str], body: Any) -> tuple[int, Any]:
        found = re.fullmatch(
            r"/v2/storageAccounts/([^/]+)/queues/([^/]+)/(message_trigger|messages)(/.+)?", path
        )
        assert found and unquote(unquote(found[1])) == ACCOUNT
        queue = unquote(found[2])
        if found[3] == "message_trigger":
            received = self.queues.receive(queue, 32, float(queries["visibilitytimeout"]))
            return 200, {"QueueMessagesList": {"QueueMessage": [_as_connector(one) for one in received]}}
        if method == "post":
            self.queues.put_raw(queue, body)
            return 201, None
        return self._delete(queue, unquote(found[4][1:]), queries["popreceipt"])

    def _delete(self, queue: str, message_id: str, receipt: str) -> tuple[int, Any]:
        for lying in self.queues._queues[queue]:
            if (lying.message.id, lying.message.pop_receipt) == (message_id, receipt):
                self.queues.delete(queue, lying.message)
                return 204, None
        return 404, {"status": 404}


def _as_connector(one: Received) -> dict[str, str]:
    return {
        "MessageId": one.id,
        "PopReceipt": one.pop_receipt,
        "MessageText": one.text,
        "DequeueCount": str(one.dequeue_count),
        "InsertionTime": "Tue, 24 Nov 2026 22:00:00 GMT",
    }


def _without_state(group: dict[str, Any]) -> dict[str, Any]:
    """A list of groups says less than the group itself."""
    properties = {name: value for name, value in group["properties"].items() if name != "instanceView"}
    return {**group, "properties": properties}


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return deploy(
        read(MAIN),
        clients=["acme", "beta"],
        storageAccountName=ACCOUNT,
        supabaseUrl="https://project.supabase.co",
        enabled=True,
    )


@dataclass
class World:
    services: MemoryServices
    queues: RawQueue
    azure: Azure
    starter: Workflow
    cleanup: Workflow

    def poll(self) -> list[Run]:
        """What the trigger does every half minute."""
        path, queries = self.starter.connection_path()
        _, body = self.azure.connector("get", path, queries, None)
        return [self.starter.run(one) for one in self.starter.split(body)]

    def one(self) -> Run:
        (run,) = self.poll()
        return run

    def later(self) -> list[Run]:
        """When what was left on the queue can be seen again."""
        self.queues.all_visible()
        return self.poll()

    def submit(self, **payload: object) -> Task:
        return submit(self.services, "acme", Submission("scripted", payload)).task

    def task(self, task_id: str) -> Task:
        row = self.services.tasks.get("acme", task_id)
        assert row is not None
        return row.task

    def path(self, name: str) -> str:
        (found,) = [path for path in self.azure.groups if path.endswith(f"/{name}")]
        return found

    def run_container(self, name: str) -> int:
        """What the container does: the exit status, as its command passes it on."""
        (container,) = self.azure.groups[self.path(name)]["properties"]["containers"]
        variables = {one["name"]: one for one in container["properties"]["environmentVariables"]}
        try:
            clients = tuple(variables["CLIENT_IDS"]["value"].split(","))
            order = one_shot.order_of(variables["TASK_DATA"]["secureValue"], clients)
            status = one_shot.run(self.services, order, one_shot.Watch(60), last=False)
        except StartError:
            status = 2
        passed_on = 0 if status in {0, 1} else 1
        ended = (datetime.now(UTC) - timedelta(minutes=10)).isoformat()
        self.azure.set_state(self.path(name), FAILED if passed_on else SUCCEEDED, passed_on, ended)
        return status

    def sweep(self, task: Task) -> None:
        """The sweep, when this task is due for a look."""
        row = self.services.tasks.get("acme", task.task_id)
        assert row is not None
        past = utc_now() - timedelta(seconds=1)
        self.services.tasks.save(row, row.task.model_copy(update={"check_at": past, "lease_until": past}))
        maintenance.sweep(self.services)

    def letters(self) -> list[str]:
        return [letter.reason for letter in self.services.dead_letters.page("acme").items]

    def clean_up(self, **later: float) -> Run:
        self.cleanup.now = datetime.now(UTC) + timedelta(**later)
        return self.cleanup.run()


@pytest.fixture
def world(deployment: Deployment) -> Iterator[World]:
    services, queues = memory_services(), RawQueue()
    services.queues = queues
    azure = Azure(queues)
    workflows = {one.name: one.properties for one in deployment.of("Microsoft.Logic/workflows")}
    starter = Workflow(workflows["docmill-start-acme"], azure)
    cleanup = Workflow(workflows["docmill-cleanup"], azure)
    with registered("scripted", "tests.scripted"):
        yield World(services, queues, azure, starter, cleanup)


def test_a_message_becomes_a_container_and_leaves_the_queue(world: World) -> None:
    task = world.submit()
    assert world.one().status == SUCCEEDED
    name = f"docmill-{task.task_id}-1"
    assert world.azure.made == [name]
    assert not world.queues.texts(QUEUE)
    assert world.run_container(name) == 0
    assert world.task(task.task_id).status is TaskStatus.SUCCEEDED


def test_every_message_has_a_run_of_its_own(world: World) -> None:
    tasks = [world.submit() for _ in range(3)]
    assert [run.status for run in world.poll()] == [SUCCEEDED] * 3
    assert world.azure.made == [f"docmill-{task.task_id}-1" for task in tasks]
    assert world.poll() == []


def test_a_text_that_the_connector_has_decoded_is_taken_too(world: World) -> None:
    message = TaskMessage(task_id="task-00000001", task_type="scripted", client_id="acme", payload={})
    world.queues.put_raw(QUEUE, message.encode().decode())
    assert world.one().status == SUCCEEDED
    assert world.run_container("docmill-task-00000001-1") == 0


def test_the_same_message_twice_is_one_container_while_that_lives(world: World) -> None:
    task = world.submit()
    world.queues.put(QUEUE, TaskMessage.of(task).encode())
    assert [run.status for run in world.poll()] == [SUCCEEDED] * 2
    assert len(world.azure.made) == 1
    assert not world.queues.texts(QUEUE)


def test_the_sweep_asks_again_for_a_task_that_waits_for_its_container(world: World) -> None:
    task = world.submit()
    world.poll()
    world.sweep(task)
    assert world.queues.texts(QUEUE)
    assert world.one().status == SUCCEEDED
    assert len(world.azure.made) == 1
    assert not world.queues.texts(QUEUE)


def test_a_container_that_never_starts_is_removed_and_followed_by_another(world: World) -> None:
    task = world.submit()
    world.poll()
    assert world.clean_up(minutes=30).status == SUCCEEDED
    assert world.azure.groups
    told = world.clean_up(minutes=61)
    assert (told.status, told.error["code"]) == (FAILED, "ContainersFailed")
    assert f"docmill-{task.task_id}-1: late, Pending" in told.error["message"]
    assert not world.azure.groups
    world.sweep(task)
    world.poll()
    assert world.azure.made == [f"docmill-{task.task_id}-1"] * 2
    world.run_container(world.azure.made[-1])
    assert world.task(task.task_id).status is TaskStatus.SUCCEEDED


def test_a_container_that_died_without_a_word_is_made_again_under_its_name(world: World) -> None:
    task = world.submit()
    world.poll()
    world.azure.set_state(world.path(f"docmill-{task.task_id}-1"), FAILED, 137, "2026-11-24T22:00:00Z")
    world.sweep(task)
    assert world.one().status == SUCCEEDED
    assert len(world.azure.made) == 2
    assert world.run_container(world.azure.made[-1]) == 0


def test_a_repetition_after_the_end_costs_a_container_and_does_no_harm(world: World) -> None:
    task = world.submit()
    world.poll()
    name = world.azure.made[0]
    world.run_container(name)
    world.queues.put(QUEUE, TaskMessage.of(task).encode())
    world.poll()
    assert world.run_container(name) == 0
    assert world.task(task.task_id).attempt == 1


def test_a_retry_has_a_name_of_its_own(world: World) -> None:
    task = world.submit(errors=["ModelRateLimited"])
    world.poll()
    assert world.run_container(world.azure.made[0]) == 1
    assert world.task(task.task_id).status is TaskStatus.RETRYING
    assert world.later()[0].status == SUCCEEDED
    assert world.azure.made == [f"docmill-{task.task_id}-1", f"docmill-{task.task_id}-2"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("no base64!", "not base64"),
        (to_wire(b"\xff\xfe"), "not UTF-8"),
        (to_wire(b"[1, 2]"), "no object"),
        (to_wire(b'{"task_type": "scripted"}'), "no payload"),
        (to_wire(b'{"task_type": "scripted", "payload": {}, "task_id": "UPPER-CASE"}'), "a wrong id"),
        (to_wire(b'{"task_type": "scripted", "payload": {}, "client_id": "beta"}'), "another client"),
        (to_wire(b'{"task_type": "scripted", "payload": {}, "schema_version": 2}'), "another version"),
        (to_wire(b'{"task_type": "scripted", "payload": {}, "seq": 0}'), "no seq"),
    ],
)
def test_what_can_never_work_becomes_a_dead_letter(world: World, text: str, what: str) -> None:
    world.queues.put_raw(QUEUE, text)
    run = world.one()
    assert (run.status, run.error["code"]) == (FAILED, "Malformed"), what
    assert world.queues.texts(POISON) == [text]
    assert not world.queues.texts(QUEUE)
    maintenance.sweep(world.services)
    assert world.letters() == ["invalid_message"]
    assert not world.azure.made


def test_a_message_of_another_producer_is_named_by_its_id(world: World) -> None:
    world.queues.put(QUEUE, json.dumps({"task_type": "scripted", "payload": {}}).encode())
    world.poll()
    assert world.azure.made == ["docmill-m1-1"]
    assert world.run_container("docmill-m1-1") == 0


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, {"error": {"code": "TooManyRequests"}}),
        (400, {"error": {"code": "ContainerGroupQuotaReached"}}),
        (409, {"error": {"code": "ContainerGroupTransitioning"}}),
    ],
)
def test_without_room_a_message_waits_and_nobody_is_alarmed(world: World, status: int, body: Any) -> None:
    world.submit()
    world.azure.refuses["PUT"] = status, body
    assert world.one().status == CANCELLED
    assert world.poll() == []
    assert len(world.queues.texts(QUEUE)) == 1
    del world.azure.refuses["PUT"]
    assert world.later()[0].status == SUCCEEDED


def test_a_refused_group_is_a_failure_and_its_message_comes_again(world: World) -> None:
    task = world.submit()
    world.azure.refuses["PUT"] = 400, {"error": {"code": "InaccessibleImage"}}
    run = world.one()
    assert (run.status, run.error["code"]) == (FAILED, "Refused")
    assert "InaccessibleImage" in run.error["message"]
    assert world.task(task.task_id).status is TaskStatus.QUEUED
    del world.azure.refuses["PUT"]
    assert world.later()[0].status == SUCCEEDED


def test_who_is_refused_for_a_day_is_given_up(world: World) -> None:
    task = world.submit()
    world.azure.refuses["PUT"] = 400, {"error": {"code": "InvalidContainerGroupName"}}
    codes = [world.later()[0].error["code"] for _ in range(144)]
    assert codes == ["Refused"] * 143 + ["GivenUp"]
    assert not world.queues.texts(QUEUE)
    maintenance.sweep(world.services)
    assert world.task(task.task_id).status is TaskStatus.FAILED
    assert world.letters() == ["worker_lost"]


@pytest.mark.parametrize("status", [403, 500])
def test_when_azure_does_not_say_nothing_is_started(world: World, status: int) -> None:
    world.submit()
    world.azure.refuses["GET"] = status, {"error": {"code": "No"}}
    run = world.one()
    assert (run.status, run.error["code"]) == (FAILED, "CannotTell")
    assert not world.azure.made
    assert len(world.queues.texts(QUEUE)) == 1


def test_groups_that_ended_are_removed_when_their_logs_had_time(world: World) -> None:
    tasks = [world.submit() for _ in range(2)]
    world.poll()
    done, running = (f"docmill-{task.task_id}-1" for task in tasks)
    world.run_container(done)
    world.azure.set_state(world.path(done), SUCCEEDED, 0, datetime.now(UTC).isoformat())
    world.azure.set_state(world.path(running), "Running")
    assert world.clean_up().status == SUCCEEDED
    assert len(world.azure.groups) == 2
    assert world.clean_up(minutes=6).status == SUCCEEDED
    assert [path.rsplit("/", 1)[1] for path in world.azure.groups] == [running]


def test_a_container_that_could_not_be_used_is_told(world: World) -> None:
    task = world.submit()
    world.poll()
    name = f"docmill-{task.task_id}-1"
    world.azure.set_state(world.path(name), FAILED, 2, "2026-11-24T22:00:00Z")
    run = world.clean_up(minutes=10)
    assert run.status == FAILED
    assert run.error["message"] == f"{name}: failed, Failed, exit code 2, removal Succeeded"
    assert not world.azure.groups


def test_groups_of_others_are_left_alone(world: World) -> None:
    other = {
        "id": "/other",
        "name": "other",
        "tags": None,
        "properties": {"containers": [{"properties": {}}]},
    }
    world.azure.groups["/other"] = other
    assert world.clean_up(days=2).status == SUCCEEDED
    assert world.azure.groups == {"/other": other}


def test_a_group_that_cannot_be_removed_is_told(world: World) -> None:
    task = world.submit()
    world.poll()
    world.azure.set_state(world.path(f"docmill-{task.task_id}-1"), SUCCEEDED, 0, "2026-11-24T22:00:00Z")
    world.azure.refuses["DELETE"] = 403, {"error": {"code": "AuthorizationFailed"}}
    run = world.clean_up(minutes=10)
    assert run.status == FAILED
    assert run.error["message"].endswith("removal Failed")
