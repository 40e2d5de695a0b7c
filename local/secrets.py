"""Secrets of one local stack: made once, kept in its data directory."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from local.supabase import SupabaseKeys


@dataclass(frozen=True)
class StackSecrets:
    """`secrets_key` is a Fernet key, the setting SECRETS_KEY."""

    secrets_key: str
    postgres_password: str
    supabase_secret_key: str
    supabase_publishable_key: str
    supabase_jwt_secret: str

    @property
    def supabase(self) -> SupabaseKeys:
        return SupabaseKeys(self.supabase_secret_key, self.supabase_publishable_key, self.supabase_jwt_secret)


def load_or_create(file: Path) -> StackSecrets:
    """The secrets in `file`, which only its owner may read."""
    if not file.exists():
        write_private(file, json.dumps(asdict(_new()), indent=2))
    return StackSecrets(**json.loads(file.read_text()))


def write_private(file: Path, text: str) -> None:
    """Replaces `file` in one step; nobody else can read it, at no moment."""
    draft = file.with_name(f"{file.name}.new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(file)


def _new() -> StackSecrets:
    from cryptography.fernet import Fernet

    return StackSecrets(
        secrets_key=Fernet.generate_key().decode(),
        postgres_password=secrets.token_hex(16),
        supabase_secret_key=f"sb_secret_{secrets.token_urlsafe(24)}",
        supabase_publishable_key=f"sb_publishable_{secrets.token_urlsafe(24)}",
        supabase_jwt_secret=secrets.token_urlsafe(48),
    )
