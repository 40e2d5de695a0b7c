"""Where the command line gets its settings from: `--env-file`, the environment, `.local/env`.

A key does not stand on the command line, where every user of the machine could read it; `docmill smoke`
alone takes one there, since machines that deploy have no other users.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import typer

from cli.client import DEFAULT_URL, Api, Misuse
from cli.output import note

_STORAGE = ("AZURE_STORAGE_CONNECTION_STRING", "AZUREWEBJOBSSTORAGE")


@dataclass
class Config:
    """What was typed before the command. `key_env` names the variable that holds the API key."""

    url: str | None = None
    key: str | None = field(default=None, repr=False)
    key_env: str = "DOCMILL_API_KEY"
    env_files: Sequence[Path] = ()
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    _told: bool = field(default=False, init=False, repr=False)

    def api(self) -> Api:
        values = self._values(named=self._names_a_service())
        key = self.key or values.get(self.key_env)
        if not key:
            raise Misuse(f"There is no API key. Set {self.key_env}, or name a dotenv file by --env-file.")
        return Api(self.url or values.get("DOCMILL_URL") or DEFAULT_URL, key)

    def service(self) -> Mapping[str, str]:
        """The environment of the service itself, for commands that go straight to storage."""
        return self._values(named=self._names(*_STORAGE))

    def webhook_secrets(self, names: Sequence[str]) -> Mapping[str, str]:
        """What these variables hold, by name; those that are set."""
        values = self._values(named=self._names_a_service() or self._names(*names))
        return {name: values[name] for name in names if values.get(name)}

    def _names_a_service(self) -> bool:
        return (self.url or self.key) is not None or self._names("DOCMILL_URL", self.key_env)

    def _names(self, *prefixes: str) -> bool:
        return any(value and name.upper().startswith(prefixes) for name, value in self.environ.items())

    def _values(self, *, named: bool) -> Mapping[str, str]:
        """A file asked for wins, the later one over the earlier; the local stack's counts only when the
        environment says nothing."""
        if self.env_files:
            read = [pair for file in self.env_files for pair in _read(file).items()]
            return {**self.environ, **dict(read)}
        local = Path(self.environ.get("DOCMILL_DATA_DIR") or ".local") / "env"
        if named or not local.is_file():
            return self.environ
        if not self._told:
            note(f"(settings from {local})")
            self._told = True
        return {**self.environ, **_read(local)}


def _read(path: Path) -> dict[str, str]:
    from dotenv import dotenv_values

    try:
        values = dotenv_values(path, interpolate=False)
    except (OSError, UnicodeError) as error:
        raise Misuse(f"{path} cannot be read as a dotenv file.") from error
    return {name: value for name, value in values.items() if value is not None}


def config(context: typer.Context) -> Config:
    """The configuration that the first callback made."""
    found = context.find_object(Config)
    if found is None:
        raise TypeError("the command runs without its application")
    return found
