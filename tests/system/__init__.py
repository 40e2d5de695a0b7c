"""Tests that need programs of the system: `make test-system`, not `make test`."""
