"""The databases that the tests of this folder share."""

from databases import empty_url, kind, postgres, postgresql_template, sqlite_template, store, url  # noqa: F401
