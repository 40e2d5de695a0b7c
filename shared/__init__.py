"""Core types, contracts, use cases, adapters."""

VERSION = "0.1.0"
