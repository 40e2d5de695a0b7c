"""The HTTP API."""

from shared import VERSION as VERSION
