"""Core types, contracts, use cases, adapters."""

from pathlib import Path


def _build() -> str:
    """`+` and the commit, where a pipeline has noted it beside this file: it tells builds apart."""
    try:
        return f"+{(Path(__file__).parent / 'build.txt').read_text().strip()}"
    except OSError:
        return ""


VERSION = f"0.1.0{_build()}"
