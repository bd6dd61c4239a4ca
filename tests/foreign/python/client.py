"""The stock Python client as a program: one request a line on standard input, one answer a line on
standard output. `src/client.rs` is the other end."""

import json
import sys

import libsql


class Client:
    connection = None

    def open(self, path, url, token):
        self.connection = libsql.connect(path, sync_url=url, auth_token=token, offline=True)

    def run(self, sql):
        self.connection.execute(sql)
        self.connection.commit()

    def sync(self):
        self.connection.sync()

    def number(self, sql):
        return self.connection.execute(sql).fetchone()[0]


client = Client()
for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = {"ok": getattr(client, request.pop("do"))(**request)}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
