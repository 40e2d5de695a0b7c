"""Hands the variables of a GitHub environment to azd: those that infra/main.parameters.json asks for.

A pipeline starts with an empty environment of azd. What is not set here has the template's own default, so
what was set by `azd env set` on somebody's machine has to be a variable too. VARIABLES: all of them, as JSON.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

PARAMETERS = Path(__file__).resolve().parents[2] / "infra" / "main.parameters.json"


def main() -> None:
    given: dict[str, str] = json.loads(os.environ["VARIABLES"])
    for name in sorted(set(re.findall(r"\$\{([A-Z][A-Z0-9_]*)", PARAMETERS.read_text())) & set(given)):
        if given[name]:
            subprocess.run(["azd", "env", "set", name, given[name]], check=True)
            print(f"{name} is set.")


if __name__ == "__main__":
    main()
