"""The HTTP API."""

VERSION = "0.1.0"
