"""Runs: from a config to a record."""
