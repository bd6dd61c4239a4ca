"""What every field of the catalog holds, computed from the journals of the tills alone (ADR 0001).

Knows nothing of the hub and shares no code with it. The arguments are books: copies of `book.db` with
`book.db-wal` beside it. Prints one JSON document: for each table, row and column the value that wins, and
the values that lost, each with the version it is and the till that wrote it.
"""

import json
import sqlite3
import sys
import uuid
from pathlib import Path

TOPIC_EDIT = "catalog_edit"


def edits(path):
    """The catalog edits of a book, with the till that wrote them."""
    book = sqlite3.connect(path)
    (node,) = book.execute("SELECT value FROM meta WHERE key = 'node_id'").fetchone()
    tag = int.from_bytes(uuid.UUID(node).bytes[-4:], "big")
    # Of all entries only an edit has a payload of columns.
    sql = "SELECT hlc, payload FROM journal WHERE payload IS NOT NULL ORDER BY seq"
    for hlc, payload in book.execute(sql):
        edit = json.loads(payload)
        if "columns" in edit:
            yield node, (hlc, tag), edit
    book.close()


def stamp(text):
    hlc, tag = text.split(".")
    return int(hlc, 16), int(tag, 16)


def text(version):
    return f"{version[0]:x}.{version[1]:08x}"


def fields(paths):
    """All versions of every field: what each holds, what its editor had seen, who wrote it."""
    found = {}
    for path in paths:
        for node, version, edit in edits(path):
            for column, value in edit["columns"].items():
                name = edit["table"], edit["row"], column
                base = {stamp(seen) for seen in edit["base"].get(column, [])}
                found.setdefault(name, {})[version] = value, base, node
    return found


def replaced(versions):
    """Versions that a later editor had seen, and those with the same value as one of them: whoever replaced
    a value that two tills had entered alike replaced both."""
    gone = set()
    for version, (_, base, _) in versions.items():
        for seen in base:
            gone.add(seen)
            if seen not in versions:
                continue
            value = versions[seen][0]
            for twin, (held, twin_base, _) in versions.items():
                if twin < version and twin != seen and held == value and version not in twin_base:
                    gone.add(twin)
    return gone


def settle(versions):
    """The last writer wins among what nobody replaced; other values among them have lost."""
    gone = replaced(versions)
    heads = [version for version in versions if version not in gone] or [max(versions)]
    winner = max(heads)
    value = versions[winner][0]
    losers = [head for head in sorted(heads) if versions[head][0] != value]
    return winner, losers


def main(paths):
    answer = []
    for (table, row, column), versions in sorted(fields(paths).items()):
        winner, losers = settle(versions)

        def told(version):
            value, _, node = versions[version]
            return {"value": value, "stamp": text(version), "node": node}

        answer.append(
            {
                "table": table,
                "row": row,
                "column": column,
                "versions": len(versions),
                "winner": told(winner),
                "losers": [told(loser) for loser in losers],
            }
        )
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
