"""Says that this run failed: in its summary, and in one line to FAILURE_WEBHOOK_URL where that is set.

The address is one of Slack, Mattermost or whatever else takes `{"text": "..."}`. GitHub itself writes to
whoever started the run. An address that does not answer fails nothing: the run has failed already.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from pathlib import Path


def main(what: str) -> None:
    env = os.environ
    run = f"{env['GITHUB_SERVER_URL']}/{env['GITHUB_REPOSITORY']}/actions/runs/{env['GITHUB_RUN_ID']}"
    text = f"{what}: {env['GITHUB_REF_NAME']} at {env['GITHUB_SHA'][:12]}, {run}"
    with Path(env["GITHUB_STEP_SUMMARY"]).open("a") as summary:
        summary.write(f"{text}\n")
    url = env.get("FAILURE_WEBHOOK_URL", "")
    if not url:
        return
    body = json.dumps({"text": text}).encode()
    try:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
        urllib.request.urlopen(request, timeout=20).close()  # noqa: S310 - the owner's own address
    except (OSError, ValueError) as error:
        print(f"::warning::Nobody was told: {type(error).__name__}.")  # the address is a secret


if __name__ == "__main__":
    main(sys.argv[1])
