"""Prints the notes of a database as JSON. Read by Python's own SQLite, which is not libSQL."""

import json
import sqlite3
import sys

connection = sqlite3.connect(sys.argv[1])
verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
if verdict != "ok":
    sys.exit(verdict)
print(json.dumps(connection.execute("SELECT id, text FROM note ORDER BY id").fetchall()))
