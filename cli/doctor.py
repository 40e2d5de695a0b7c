"""`docmill doctor`: are the settings right, does every dependency answer, and if not, how to mend it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.config import config
from cli.output import print_json, print_table

if TYPE_CHECKING:
    from shared.core import Core
    from shared.settings import Settings

SECONDS = 5.0
OK, WARNING, WRONG = "ok", "warning", "wrong"


@dataclass(frozen=True)
class Finding:
    """`state` is ok, warning or wrong; `advice` says what is the matter and how to mend it."""

    check: str
    state: str
    advice: str = ""


@dataclass(frozen=True)
class Check:
    """A question to one dependency. `ask` may raise; `mend` is the advice when it does or says False."""

    name: str
    ask: Callable[[Core], bool]
    mend: str


def doctor(
    context: typer.Context,
    *,
    env_file: Annotated[
        list[Path] | None,
        typer.Option(
            help="The dotenv file that the service is run with; may be repeated, the last one wins.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check the settings and every dependency. Exit status 1 when something is wrong.

    Changes nothing and makes no paid call.
    """
    found = config(context)
    found.env_files = env_file or found.env_files
    findings = examine(dict(found.service()))
    if as_json:
        print_json({"items": [asdict(finding) for finding in findings]})
    else:
        print_table(("CHECK", "STATE", "WHAT TO DO"), ((f.check, f.state, f.advice) for f in findings))
    if any(finding.state == WRONG for finding in findings):
        raise typer.Exit(1)


def examine(environ: dict[str, str]) -> list[Finding]:
    """Every finding for a service that runs in this environment."""
    from shared.settings import SettingsError, read_settings

    try:
        settings = read_settings(environ)
    except SettingsError as error:
        return [Finding("settings", WRONG, str(error))]
    return [Finding("settings", OK), *_settled(settings), *_reached(settings)]


def _settled(settings: Settings) -> Iterator[Finding]:
    """What the settings alone tell."""
    yield _secrets_key(settings)
    yield _ocr(settings)
    for name in ("webhook_allow_http", "webhook_allow_private_networks"):
        if getattr(settings, name):
            yield Finding(
                name.upper(), WARNING, "For the local stack only: unset it wherever others can submit."
            )


def _secrets_key(settings: Settings) -> Finding:
    if settings.secrets_key is None:
        advice = "Set SECRETS_KEY to the output of: docmill secrets-key. Without it there are no webhooks."
        return Finding("SECRETS_KEY", WRONG, advice)
    return Finding("SECRETS_KEY", OK)


def _ocr(settings: Settings) -> Finding:
    from shared.core import recognition
    from shared.providers.conversion import ocr_models

    if not ocr_models.installed():
        advice = "Pages without text and images are not read: pip install -r requirements-ocr.txt"
        return Finding("OCR", WARNING, advice)
    problem = ocr_models.missing(recognition(settings))
    return Finding("OCR", WRONG, problem) if problem else Finding("OCR", OK)


def _reached(settings: Settings) -> list[Finding]:
    """What the dependencies answer, asked all at once."""
    from shared.core import Core

    core = Core(settings)
    tiers = [Check(f"tier {settings.docling_pipeline}", _tier, "See docs/conversion.md.")]
    checks = [*_CHECKS, *tiers, *map(_keys_of, settings.client_ids)]
    try:
        with ThreadPoolExecutor(len(checks)) as pool:
            return list(pool.map(partial(_ask, core), checks))
    finally:
        core.close()


def _ask(core: Core, check: Check) -> Finding:
    from shared.errors import DocmillError
    from shared.settings import SettingsError

    try:
        good, advice = check.ask(core), check.mend
    except DocmillError as error:
        good, advice = False, error.advice or f"{error.message} {check.mend}"
    except SettingsError as error:
        good, advice = False, str(error)
    except Exception as error:  # a doctor meets what nobody foresaw, too; its text may hold a secret
        good, advice = False, f"{check.mend} ({type(error).__name__})"
    return Finding(check.name, OK) if good else Finding(check.name, WRONG, advice)


def _queues(core: Core) -> bool:
    from shared.names import DELIVERIES_QUEUE

    core.queues.depth(DELIVERIES_QUEUE)
    return True


def _tables(core: Core) -> bool:
    core.tasks.get(core.settings.client_ids[0], "doctor-looks")
    return True


def _blobs(core: Core) -> bool:
    from shared.errors import BlobNotFound

    with suppress(BlobNotFound):  # an answer, which is all that was asked for
        core.blobs.info(f"{core.settings.client_ids[0]}/doctor-looks")
    return True


def _supabase(core: Core) -> bool:
    core.documents.ping(SECONDS)
    return True


def _models(core: Core) -> bool:
    core.models.ping(SECONDS)
    return True


def _converter(_: Core) -> bool:
    try:
        for name in ("docling_parse", "docling.document_converter"):
            importlib.import_module(name)
    except ImportError:
        return False
    return True


def _tier(core: Core) -> bool:
    core.converter.ping(SECONDS)
    return True


def _keys_of(client: str) -> Check:
    def has_key(core: Core) -> bool:
        return any(key.revoked_at is None for key in core.keys.of_client(client))

    advice = f"No key was found. If table storage is ok, make one: docmill keys create --client {client}"
    return Check(f"keys of {client}", has_key, advice)


_STORAGE = (
    "Check AZURE_STORAGE_CONNECTION_STRING (or AzureWebJobsStorage and its identity), "
    "that the account answers from here, and that it may use queues, tables and blobs."
)
_CHECKS = (
    Check("queue storage", _queues, _STORAGE),
    Check("table storage", _tables, _STORAGE),
    Check("blob storage", _blobs, _STORAGE),
    Check("Supabase", _supabase, "Check SUPABASE_URL and SUPABASE_KEY, and apply supabase/migrations."),
    Check("models", _models, "Check MODEL_PROVIDER, the provider's key and endpoint, the models' names."),
    Check("converter", _converter, "Docling does not import here: pip install -r requirements.txt"),
)
