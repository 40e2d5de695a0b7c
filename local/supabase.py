"""Supabase Lite: Supabase's REST interface in front of our Postgres."""

from __future__ import annotations

import http.client
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local.node import script
from local.process import Child, base_environment, run

MIGRATIONS = Path(__file__).parents[1] / "supabase" / "migrations"
START_SECONDS = 60


@dataclass(frozen=True)
class SupabaseKeys:
    """`secret` is the service role, which no row policy holds back; `publishable` is for browsers."""

    secret: str
    publishable: str
    jwt_secret: str


class Supabase:
    """The server, and the schema that it serves."""

    def __init__(self, project: Path, log: Path, port: int, keys: SupabaseKeys, database_url: str) -> None:
        """`project`: a folder that becomes a Supabase project, rewritten at every start."""
        self._project = project
        self._log = log
        self._port = port
        self._keys = keys
        self._database_url = database_url
        self._child: Child | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def key(self) -> str:
        return self._keys.secret

    @property
    def child(self) -> Child | None:
        return self._child

    def start(self, keep_open: Sequence[int] = ()) -> None:
        """Brings the schema up to date and returns when the server answers. Raises StackError."""
        self._write_project()
        # First the schema: the server remembers the row policies that its first query met.
        command = [*script("lite"), "--no-telemetry", "migration", "up"]
        if any(MIGRATIONS.glob("*.sql")):
            run("The migration", command, cwd=self._project, env=self._environment(), seconds=120)
        self._child = Child.start(
            "Supabase Lite",
            [*script("lite"), "--no-telemetry", "start", "--no-admin"],
            log=self._log,
            cwd=self._project,
            env=self._environment(),
            keep_open=keep_open,
        )
        self._child.wait_until(self._answers, START_SECONDS)

    def stop(self) -> None:
        if self._child:
            self._child.stop()

    def _write_project(self) -> None:
        shutil.rmtree(self._project, ignore_errors=True)
        folder = self._project / "supabase"
        shutil.copytree(MIGRATIONS, folder / "migrations")
        config = folder / "config.toml"
        config.touch(mode=0o600)
        config.write_text(self._config())

    def _config(self) -> str:
        return (
            f"[api]\nport = {self._port}\n\n"
            f'[db]\ndriver = "postgres"\nurl = "{self._database_url}"\n\n'
            f'[auth]\nenabled = true\njwt_secret = "{self._keys.jwt_secret}"\n'
            f'publishable_key = "{self._keys.publishable}"\nsecret_key = "{self._keys.secret}"\n'
        )

    def _environment(self) -> dict[str, str]:
        return {**base_environment(), "LITE_TELEMETRY": "0"}

    def _answers(self) -> bool:
        """Whether it serves the service role, which takes the database too."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/rest/v1/", headers={"apikey": self._keys.secret})
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
