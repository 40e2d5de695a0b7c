"""The Functions app outside Azure: `python -m worker` runs function_app.py as the Functions host would.

Queue triggers, timers and the ASGI app, by the values of host.json. Not imitated: function keys, output
bindings, functionTimeout (threads cannot be killed; a task has its own deadline), scaling, the admin routes.
"""
