"""Overwritten by the build."""

VERSION = "unknown"
