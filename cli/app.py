"""`docmill`: the command line. Exit status: 0 success, 1 the task failed, 2 wrong usage, 3 out of reach."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli import dead_letters, doctor, documents, keys, smoke, tasks, webhooks
from cli.client import DEFAULT_URL, Failure
from cli.config import Config
from cli.output import note, say


class Commands(TyperGroup):
    """The edge at which an error becomes one line and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        from shared.errors import DocmillError
        from shared.settings import SettingsError

        try:
            return super().invoke(ctx)
        except Failure as error:
            note(str(error))
            raise typer.Exit(error.exit_status) from None
        except SettingsError as error:
            note(str(error))
            raise typer.Exit(2) from None
        except DocmillError as error:
            note(error.advice or error.message)
            raise typer.Exit(3 if error.status >= 500 else 2) from None


app = typer.Typer(
    cls=Commands,
    name="docmill",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback()
def options(
    context: typer.Context,
    *,
    url: Annotated[str | None, typer.Option(help=f"The service. [DOCMILL_URL, else {DEFAULT_URL}]")] = None,
    key_env: Annotated[
        str, typer.Option(help="The variable that holds the API key.", metavar="NAME")
    ] = "DOCMILL_API_KEY",
    env_file: Annotated[
        list[Path] | None,
        typer.Option(help="A dotenv file with settings; may be repeated.", exists=True, dir_okay=False),
    ] = None,
) -> None:
    """Documents in, summaries and search hits out.

    The service and the API key come from --env-file, else from DOCMILL_URL and DOCMILL_API_KEY, else from
    .local/env, which `make up` writes.

    Exit status: 0 success, 1 the task failed, 2 wrong usage, 3 service out of reach.
    """
    context.obj = Config(url=url, key_env=key_env, env_files=env_file or ())


@app.command()
def version() -> None:
    """The version of this command."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        say(f"docmill {installed('docmill')}")
    except PackageNotFoundError:
        say("docmill (from source)")


app.command("submit")(tasks.submit)
app.command("status")(tasks.status)
app.command("tasks")(tasks.tasks)
app.command("result")(tasks.result)
app.command("cancel")(tasks.cancel)
app.command("retry")(tasks.retry)
app.command("search")(documents.search)
app.command("documents")(documents.documents)
app.add_typer(dead_letters.dead_letters, name="dead-letters")
app.add_typer(webhooks.webhooks, name="webhooks")
app.add_typer(keys.keys, name="keys")
app.add_typer(keys.webhook_secret, name="webhook-secret")
app.command("secrets-key")(keys.secrets_key)
app.command("doctor")(doctor.doctor)
app.command("smoke")(smoke.smoke)


def main() -> None:
    for name in ("azure", "shared.storage.refusals"):
        # What they would log, the command says itself, in one line.
        logging.getLogger(name).addHandler(logging.NullHandler())
    app(prog_name="docmill")
