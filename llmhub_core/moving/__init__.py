"""Carrying what lasts elsewhere: into a file and out of it, into another database, out of another gateway's settings.

Rooms: `passphrase` (a key out of words), `copy_file` (the file that `llm-hub export` writes), `exporting`, `importing`
with `carried_entries` and `carried_rows` (what becomes of each line), `live` (a move while the hub serves).
"""
