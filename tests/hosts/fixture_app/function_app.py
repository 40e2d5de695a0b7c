"""A function app for the worker's tests. Every call is a line in the file that CALLS_FILE names."""

import asyncio
import ctypes
import json
import os
import sys
import time
from pathlib import Path

import azure.functions as func

from shared import scratch


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        note("lifespan", "shutdown")
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = json.dumps({"path": scope["path"]}).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}
    )
    await send({"type": "http.response.body", "body": body})


prefix = os.environ["QUEUE_PREFIX"]
app = func.AsgiFunctionApp(app=asgi, http_auth_level=func.AuthLevel.ANONYMOUS)


def note(name: str, text: str) -> None:
    with Path(os.environ["CALLS_FILE"]).open("a", encoding="utf-8") as file:
        file.write(f"{name} {text}\n")


def on_queue(name: str):
    return app.queue_trigger(arg_name="msg", queue_name=name, connection="AzureWebJobsStorage")


@on_queue(f"{prefix}-good")
def good(msg: func.QueueMessage) -> None:
    note("good", f"{msg.dequeue_count} {msg.get_body().decode()}")


@on_queue(f"{prefix}-described")
def described(msg: func.QueueMessage, context) -> None:
    times = [msg.insertion_time, msg.expiration_time, msg.time_next_visible]
    aware = all(moment.tzinfo is not None for moment in times)
    note("described", f"{msg.id} {msg.dequeue_count} {aware} {bool(msg.pop_receipt)} {context.function_name}")


@on_queue(f"{prefix}-failing")
def failing(msg: func.QueueMessage) -> None:
    note("failing", f"{msg.dequeue_count}")
    raise ValueError("as the test wants it")


@on_queue(f"{prefix}-returning")
def returning(msg: func.QueueMessage) -> str:
    note("returning", f"{msg.dequeue_count}")
    return "nobody takes this"


@on_queue(f"{prefix}-slow")
def slow(msg: func.QueueMessage) -> None:
    seconds = msg.get_body().decode()
    with scratch.folder():
        note("slow", f"begins {seconds}")
        time.sleep(float(seconds))
        note("slow", f"ends {seconds}")


@on_queue(f"{prefix}-awaited")
async def awaited(msg: func.QueueMessage) -> None:
    note("awaited", msg.get_body().decode())


def deed(body: str, delivery: int):
    """What a message asks for: one word, and `once` for the first delivery alone."""
    word, _, once = body.partition(" ")
    if once and delivery > 1:
        return None
    match word:
        case "fail":
            raise ValueError("as the test wants it")
        case "return":
            return "nobody takes this"
        case "exit0" | "exit3":
            sys.exit(int(word[-1]))
        case "crash":
            ctypes.string_at(0)
        case "hang":
            time.sleep(600)
    return None


@on_queue(f"{prefix}-fate")
def fate(msg: func.QueueMessage):
    note("fate", f"{msg.dequeue_count} {os.getpid()}")
    return deed(msg.get_body().decode(), msg.dequeue_count)


@on_queue(f"{prefix}-async-fate")
async def async_fate(msg: func.QueueMessage):
    note("async_fate", f"{msg.dequeue_count} {os.getpid()}")
    await asyncio.sleep(0.01)
    return deed(msg.get_body().decode(), msg.dequeue_count)


@on_queue("%QUEUE_OF_A_SETTING%")
def named_by_setting(msg: func.QueueMessage) -> None:
    note("named_by_setting", msg.get_body().decode())


@on_queue("%NOT_SET_ANYWHERE%")
def in_error(msg: func.QueueMessage) -> None:
    note("in_error", "never")


def make(number: str):
    def tasks(msg: func.QueueMessage) -> None:
        note(number, msg.get_body().decode())

    return app.function_name(f"tasks_{number}")(on_queue(f"{prefix}-{number}-tasks")(tasks))


for number in ("one", "two"):
    make(number)


@app.timer_trigger(arg_name="timer", schedule="%TICK_SCHEDULE%")
def tick(timer: func.TimerRequest) -> None:
    note("tick", f"begins {timer.past_due}")
    time.sleep(1.5)
    note("tick", "ends")


@app.timer_trigger(arg_name="timer", schedule="%TICK_SCHEDULE%")
def tock(timer: func.TimerRequest) -> None:
    note("tock", f"{time.time():.0f}")


@app.timer_trigger(arg_name="timer", schedule="every now and then")
def never(timer: func.TimerRequest) -> None:
    note("never", "")
