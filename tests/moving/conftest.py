"""Databases, and no configuration of whoever runs the tests."""

from databases import kind, postgres, postgresql_template, sqlite_template  # noqa: F401
from test_cli import clean  # noqa: F401
