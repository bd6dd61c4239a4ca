"""A lane of a shop, written from "Writing a lane" in docs/lanes.md. It keeps journals in a file, takes what it lacks from
every lane that it meets, serves what it holds, and writes a journal of its own: an entry for each line of standard
input, such as {"topic": "transaction", "kind": 6, "document": {}}. What happens is told on standard output."""

import argparse, asyncio, hmac, json, os, pathlib, secrets, sys, time, uuid
from blake3 import blake3
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import WebSocketException

START = {"seq": 0, "chain": "0" * 64}
TOPICS = {"transaction", "inventory", "customer", "employee", "catalog"}
LINK = {"max_size": 8 << 20, "compression": None, "ping_interval": 2, "ping_timeout": 5}


def tell(event, **more):
    print(json.dumps({"event": event} | more), flush=True)


def chain_of(entry):
    has, document = entry["payload"], entry["payload"]["document"].encode()
    number = lambda value: int(value).to_bytes(8, "big")
    head = bytes.fromhex(has["before"]) + number(has["seq"]) + uuid.UUID(entry["id"]).bytes
    return blake3(head + number(has["hlc"]) + number(has["kind"]) + number(len(document)) + document).hexdigest()


class Refused(Exception):
    """code, detail"""


class Journals:
    def __init__(self, path):
        self.begins, self.entries, self.file = {}, {}, open(path, "a+")
        self.file.seek(0)
        whole = self.file.read().rpartition("\n")[:2]  # A line without its end was never acknowledged.
        self.file.truncate(len("".join(whole)))
        for line in whole[0].splitlines():
            self.add(*json.loads(line))

    def add(self, begin, entry):
        self.begins.setdefault(entry["fromTerminal"], begin)
        self.entries.setdefault(entry["fromTerminal"], []).append(entry)

    def end(self, origin):
        last = self.entries[origin][-1]["payload"] if origin in self.entries else START
        return {"seq": last["seq"], "chain": last["chain"]}

    def held(self, origin):
        return {"origin": origin, "begin": self.begins[origin], "end": self.end(origin)}

    def behind(self, origin, seq):
        """The entry behind a position."""
        place = seq - self.begins[origin]["seq"]
        return self.entries[origin][place] if place < len(self.entries[origin]) else None

    def keep(self, entry, begin):
        """Keeps an entry durably, unless it is held."""
        origin, has = entry["fromTerminal"], entry["payload"]
        end = self.end(origin) if origin in self.entries else begin
        if has["chain"] != chain_of(entry):
            raise Refused("malformed", f"entry {has['seq']} of {origin} does not fit its chain value")
        if has["seq"] > end["seq"]:
            if (has["seq"] - 1, has["before"]) != (end["seq"], end["chain"]):
                raise Refused("malformed", f"entry {has['seq']} of {origin} does not follow {end['seq']}")
            print(json.dumps([begin, entry]), file=self.file, flush=True)
            os.fsync(self.file.fileno())
            self.add(begin, entry)


class Lane:
    def __init__(self, args):
        self.me, self.shop, self.number, self.peers = args.node, args.shop, args.lane, set()
        self.journals, self.key = Journals(args.state), None
        if args.secret:
            self.key = blake3(args.secret.strip().encode(), derive_key_context="counterfoil 2026-11 lanes of one shop").digest()

    def write(self, topic, kind, document):
        """The next entry of the own journal."""
        end, before = self.journals.end(self.me), self.journals.entries.get(self.me)
        hlc = max(time.time_ns() // 1_000_000 << 16, int(before[-1]["payload"]["hlc"]) + 1 if before else 0)
        payload = {"seq": end["seq"] + 1, "hlc": str(hlc), "kind": kind, "before": end["chain"], "document": json.dumps(document)}
        entry = {"id": str(uuid.uuid4()), "fromTerminal": self.me, "topic": topic, "timestamp": hlc >> 16, "payload": payload}
        payload["chain"] = chain_of(entry)
        self.keep(entry, START)

    def keep(self, entry, begin):
        self.journals.keep(entry, begin)
        for peer in self.peers:
            peer.say(type="have", **self.journals.held(entry["fromTerminal"]))
        tell("kept", origin=entry["fromTerminal"], seq=entry["payload"]["seq"], document=entry["payload"]["document"])

    async def meet(self, socket):
        peer = Peer(self, socket)
        speaking = None
        try:
            await peer.greet()
            self.peers.add(peer)
            tell("connected", node=peer.node)
            speaking = asyncio.create_task(peer.speak())
            await peer.hear()
        except Refused as refused:
            tell("refused", code=refused.args[0], detail=refused.args[1])
            await socket.send(json.dumps({"type": "refused", "code": refused.args[0], "detail": refused.args[1]}))
        except ConnectionError as told:
            tell("was_refused", detail=str(told))
        except WebSocketException as error:
            tell("lost", why=str(error))
        finally:
            self.peers.discard(peer)
            if speaking:
                speaking.cancel()
            await socket.close()


class Peer:
    """One connection: what is to be said, what the peer wants behind which position, what it has not acknowledged."""

    def __init__(self, lane, socket):
        self.lane, self.socket, self.wake = lane, socket, asyncio.Event()
        self.queue, self.wants, self.sent, self.holds, self.asked = [], {}, [], {}, set()

    def say(self, **control):
        self.queue.append(json.dumps(control))
        self.wake.set()

    async def read(self, *expected):
        while True:
            said = json.loads(await self.socket.recv())
            if said.get("type") == "refused":
                raise ConnectionError(f"{said['code']}: {said['detail']}")
            if said.get("type") in expected or said.get("topic") in TOPICS:
                return said

    async def greet(self):
        lane, nonce = self.lane, secrets.token_bytes(32)
        hello = {"type": "hello", "protocol": 1, "node": lane.me, "shop": lane.shop, "lane": lane.number, "book_schema": 3}
        await self.socket.send(json.dumps(hello | {"nonce": nonce.hex(), "secret": lane.key is not None}))
        theirs = await self.read("hello")
        self.node = theirs.get("node")
        for wrong, code in [(theirs.get("protocol") != 1, "version"), (theirs.get("node") == lane.me, "myself"),
                            (theirs.get("shop") != lane.shop, "other_shop"), (theirs.get("secret") != bool(lane.key), "unpaired")]:
            if wrong:
                raise Refused(code, "see docs/lanes.md")
        if lane.key:
            own, other = [(uuid.UUID(lane.me).bytes, nonce), (uuid.UUID(self.node).bytes, bytes.fromhex(theirs["nonce"]))]
            prove = lambda one, two: blake3(b"".join((uuid.UUID(lane.shop).bytes, *one, *two)), key=lane.key).hexdigest()
            await self.socket.send(json.dumps({"type": "proof", "proof": prove(own, other)}))
            if not hmac.compare_digest((await self.read("proof")).get("proof", ""), prove(other, own)):
                raise Refused("unpaired", "it does not know the secret")
        holds = [lane.journals.held(origin) for origin in lane.journals.entries]
        await self.socket.send(json.dumps({"type": "holds", "holds": holds}))
        for held in (await self.read("holds"))["holds"]:
            self.learn(held)

    def learn(self, held):
        """Wants what the peer holds, and whatever it gets from then on."""
        origin = held["origin"]
        self.holds[origin] = held
        mine = self.lane.journals.end(origin)["seq"] if origin in self.lane.journals.entries else held["begin"]["seq"]
        if origin != self.lane.me and origin not in self.asked and held["begin"]["seq"] <= mine <= held["end"]["seq"]:
            self.asked.add(origin)
            self.say(type="want", origin=origin, after=mine)

    async def hear(self):
        journals = self.lane.journals
        while True:
            said = await self.read("want", "stop", "ack", "have", "gone")
            kind, origin = said.get("type"), said.get("origin")
            if kind is None and said["fromTerminal"] in self.asked:
                self.lane.keep(said, self.holds[said["fromTerminal"]]["begin"])
                self.say(type="ack", messageId=said["id"])
            elif kind == "want":
                self.sent = [sent for sent in self.sent if sent[1] != origin]
                is_here = origin in journals.entries and journals.begins[origin]["seq"] <= said["after"] <= journals.end(origin)["seq"]
                tell("wanted", origin=origin, after=said["after"])
                self.wants[origin] = said["after"]
                if not is_here:
                    del self.wants[origin]
                    self.say(type="gone", origin=origin)
            elif kind == "stop":
                self.wants.pop(origin, None)
                self.sent = [sent for sent in self.sent if sent[1] != origin]
            elif kind == "ack":
                for _, origin, seq, _ in [sent for sent in self.sent if sent[0] == said["messageId"]]:
                    self.sent = [sent for sent in self.sent if sent[1] != origin or sent[2] > seq]
            elif kind == "have":
                self.learn(said)
            elif kind == "gone":
                self.asked.discard(origin)
            self.wake.set()

    def next_entry(self):
        if len(self.sent) < 512 and sum(sent[3] for sent in self.sent) < 2 << 20:
            behind = (self.lane.journals.behind(origin, after) for origin, after in self.wants.items())
            return next(filter(None, behind), None)

    async def speak(self):
        while True:
            self.wake.clear()
            while self.queue or (entry := self.next_entry()):
                if self.queue:
                    await self.socket.send(self.queue.pop(0))
                    continue
                origin, seq, text = entry["fromTerminal"], entry["payload"]["seq"], json.dumps(entry)
                self.wants[origin] = seq
                self.sent.append((entry["id"], origin, seq, len(text)))
                await self.socket.send(text)
            await self.wake.wait()


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--state", "--shop", "--node"):
        parser.add_argument(name, required=True)
    parser.add_argument("--lane", type=int, default=9)
    parser.add_argument("--secret", type=lambda path: pathlib.Path(path).read_text())
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--dial", action="append", default=[])
    args = parser.parse_args()
    lane = Lane(args)

    async def seek(url):
        while True:
            try:
                async with connect(url, proxy=None, **LINK) as socket:
                    await lane.meet(socket)
            except (OSError, WebSocketException) as error:
                tell("not_reached", why=str(error))
            await asyncio.sleep(0.2 + secrets.randbelow(100) / 1000)

    async def write():
        while line := await asyncio.to_thread(sys.stdin.readline):
            lane.write(**json.loads(line))

    host, port = args.listen.rsplit(":", 1)
    async with serve(lane.meet, host, int(port), origins=[None], **LINK) as server:
        tell("listening", url="ws://%s:%d" % server.sockets[0].getsockname()[:2])
        await asyncio.gather(write(), *(seek(url) for url in args.dial))
        await asyncio.Event().wait()


asyncio.run(main())
