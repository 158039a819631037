"""Databases and counters."""
