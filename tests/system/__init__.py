"""The worker as a part of a system: systemd, an installation, Prometheus. Run by `make test-system`."""
