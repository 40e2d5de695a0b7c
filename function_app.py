"""Every trigger of Docmill on one screen: parse, one call.

Imported by the Functions host (`func start`, Azure) and by `python -m worker`. Nothing heavy is imported
here and only CLIENT_IDS and TASK_TRIGGER_CLIENTS are read: an error at import would hide every function.
"""

from collections.abc import Callable

import azure.functions as func

import api.app
from shared.names import DELIVERIES_QUEUE, tasks_queue
from shared.settings import trigger_clients

STORAGE = "AzureWebJobsStorage"

app = func.AsgiFunctionApp(app=api.app.lazy, http_auth_level=func.AuthLevel.ANONYMOUS)


def task_trigger(client_id: str) -> Callable[[func.QueueMessage], None]:
    """A closure for each client: the host allows no further parameter."""

    def run_task(message: func.QueueMessage) -> None:
        from shared import runner
        from shared.core import core

        runner.run(
            core(),
            client_id,
            message.get_body(),
            message_id=str(message.id),
            inserted_at=message.insertion_time,
        )

    return run_task


for client in trigger_clients():
    trigger = app.queue_trigger(arg_name="message", queue_name=tasks_queue(client), connection=STORAGE)
    app.function_name(f"tasks_{client}")(trigger(task_trigger(client)))


@app.function_name("deliver_webhook")
@app.queue_trigger(arg_name="message", queue_name=DELIVERIES_QUEUE, connection=STORAGE)
def deliver_webhook(message: func.QueueMessage) -> None:
    from shared import delivery
    from shared.core import core

    delivery.deliver(core(), message.get_body())


@app.function_name("maintenance")
@app.timer_trigger(arg_name="timer", schedule="%MAINTENANCE_SCHEDULE%", run_on_startup=False)
def maintain(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the host binds it by this name
    from shared import maintenance
    from shared.core import core

    maintenance.sweep(core())
