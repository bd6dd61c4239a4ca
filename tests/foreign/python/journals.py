"""The journals that a lane keeps, in a file: an entry a line, as it came. Written from "Writing a lane" in docs/lanes.md."""

import asyncio, json, os, struct, time, uuid
from blake3 import blake3

START = {"seq": 0, "chain": "0" * 64}


def chain_of(entry):
    has, document = entry["payload"], entry["payload"]["document"].encode()
    numbers = struct.pack(">q16sqqq", has["seq"], uuid.UUID(entry["id"]).bytes, int(has["hlc"]), has["kind"], len(document))
    return blake3(bytes.fromhex(has["before"]) + numbers + document).hexdigest()


class Refused(Exception):
    """code, detail"""


class Journals(dict):
    """The entries of each journal, by the node whose it is."""

    def __init__(self, path, own):
        self.own, self.file, self.news = own, open(path, "a+"), asyncio.Event()
        self.file.seek(0)
        whole, end, _ = self.file.read().rpartition("\n")  # A line without its end was never acknowledged.
        self.file.truncate(len(whole + end))
        for entry in map(json.loads, whole.splitlines()):
            self.setdefault(entry["fromTerminal"], []).append(entry)

    def end(self, origin, begin):
        last = self[origin][-1]["payload"] if origin in self else begin
        return {"seq": last["seq"], "chain": last["chain"]}

    def held(self, origin):
        first = self[origin][0]["payload"]
        return {"origin": origin, "begin": {"seq": first["seq"] - 1, "chain": first["before"]}, "end": self.end(origin, START)}

    def has(self, origin, seq):
        """Whether that entry is held, or the one behind it may be asked for."""
        held = self.held(origin) if origin in self else None
        return held and held["begin"]["seq"] <= seq <= held["end"]["seq"]

    def keep(self, entry, begin):
        """Keeps an entry durably, unless it is held; a journal of which nothing is held begins there."""
        origin, has = entry["fromTerminal"], entry["payload"]
        end = self.end(origin, begin)
        if has["chain"] != chain_of(entry):
            raise Refused("malformed", f"entry {has['seq']} of {origin} does not fit its chain value")
        if has["seq"] > end["seq"]:
            if (has["seq"] - 1, has["before"]) != (end["seq"], end["chain"]):
                raise Refused("malformed", f"entry {has['seq']} of {origin} does not follow {end['seq']}")
            print(json.dumps(entry), file=self.file, flush=True)
            os.fsync(self.file.fileno())
            self.setdefault(origin, []).append(entry)
            self.wake()

    def write(self, topic, kind, document):
        """The next entry of the own journal."""
        end, own = self.end(self.own, START), self.get(self.own)
        hlc = max(time.time_ns() // 1_000_000 << 16, int(own[-1]["payload"]["hlc"]) + 1 if own else 0)
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        payload = {"seq": end["seq"] + 1, "hlc": str(hlc), "kind": kind, "before": end["chain"], "document": text}
        entry = {"id": str(uuid.uuid4()), "fromTerminal": self.own, "topic": topic, "timestamp": hlc >> 16, "payload": payload}
        payload["chain"] = chain_of(entry)
        self.keep(entry, START)
        return entry["id"]

    def wake(self):
        """Every connection looks whether there is something to be said."""
        self.news.set()
        self.news = asyncio.Event()
