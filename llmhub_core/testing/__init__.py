"""Shipped for tests: a provider in the test process, and what every plugin must satisfy."""
