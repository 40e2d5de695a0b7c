"""The Functions app outside Azure: `python -m worker` runs function_app.py as the Functions host would.

Queue triggers, timers and the ASGI app, by the values of host.json. Two processes: the host (host.py) polls,
keeps leases, settles messages and never imports the app; the functions process (functions.py) runs it and is
renewed when it hangs or dies. Not imitated: function keys, input and output bindings, other HTTP functions,
scaling, the admin routes. docs/operations.md says where else the two differ.
"""
