"""The functions process of napping_worker.py."""

from __future__ import annotations

if __name__ == "__main__":
    import handlers
    from tests.e2e import napping
    from worker.functions import main

    handlers.HANDLERS[napping.TASK_TYPE] = napping.__name__
    main()
