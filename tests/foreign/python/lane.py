"""A lane of a shop, written from "Writing a lane" in docs/lanes.md: it takes the journals of all lanes and gives them on.
`journals.py` keeps them, `till.py` is a till around it."""

import asyncio, contextlib, hmac, json, secrets, uuid
from blake3 import blake3
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from journals import Refused

TOPICS = ("transaction", "inventory", "customer", "employee", "catalog")
LINK = {"max_size": 8 << 20, "compression": None, "ping_interval": 2, "ping_timeout": 5}


def tell(event, **more):
    print(json.dumps({"event": event} | more), flush=True)


class Lane:
    def __init__(self, journals, shop, number, secret=None):
        self.journals, self.node, self.shop, self.number = journals, journals.own, shop, number
        self.key = secret and blake3(secret, derive_key_context="counterfoil 2026-11 lanes of one shop").digest()

    async def meet(self, socket):
        peer = Peer(self, socket)
        try:
            await asyncio.wait_for(peer.greet(), 30)
            tell("connected", node=peer.node)
            peer.speaking = asyncio.create_task(peer.speak())
            while True:
                peer.hear(await peer.read())
        except Refused as refused:
            tell("refused", code=refused.args[0], detail=refused.args[1])
            await peer.send(type="refused", code=refused.args[0], detail=refused.args[1])
        except Exception as error:  # Whatever a peer says, the lane lives on.
            tell("lost", why=repr(error))
        finally:
            if peer.speaking:
                peer.speaking.cancel()
            await socket.close()

    async def dial(self, url, **tls):
        while True:
            with contextlib.suppress(OSError, WebSocketException):
                async with connect(url, proxy=None, **tls, **LINK) as socket:
                    await self.meet(socket)
            await asyncio.sleep(0.2 + secrets.randbelow(100) / 1000)


class Peer:
    """One connection: what is to be answered, what the peer wants and was told, and what was asked of it."""

    def __init__(self, lane, socket):
        self.lane, self.journals, self.socket, self.speaking = lane, lane.journals, socket, None
        self.answers, self.wants, self.told, self.asked = [], {}, {}, {}

    async def send(self, **said):
        await self.socket.send(json.dumps(said))

    async def read(self, *expected):
        while True:
            said = json.loads(await self.socket.recv())
            if said.get("type") == "refused":
                tell("was_refused", code=said["code"], detail=said["detail"])
            if said.get("type") in (expected or [said.get("type")]):
                return said

    async def greet(self):
        lane, journals, nonce = self.lane, self.journals, secrets.token_bytes(32)
        tls = self.socket.transport.get_extra_info("peercert")
        key = None if tls else lane.key
        hello = {"type": "hello", "protocol": 1, "node": lane.node, "shop": lane.shop, "lane": lane.number, "book_schema": 4}
        await self.send(**hello, nonce=nonce.hex(), secret=bool(key))
        theirs = await self.read("hello")
        self.node, name = theirs["node"], f"{theirs['node']}.{lane.shop}.lane.counterfoil.internal"
        refusals = {"version": theirs["protocol"] != 1, "myself": self.node == lane.node, "other_shop": theirs["shop"] != lane.shop,
                    "unpaired": theirs["secret"] != bool(key), "certificate": tls and ("DNS", name) not in tls["subjectAltName"]}
        for code in filter(refusals.get, refusals):
            raise Refused(code, "see docs/lanes.md")
        if key:
            own, other = uuid.UUID(lane.node).bytes + nonce, uuid.UUID(self.node).bytes + bytes.fromhex(theirs["nonce"])
            prove = lambda *sides: blake3(uuid.UUID(lane.shop).bytes + b"".join(sides), key=key).hexdigest()
            await self.send(type="proof", proof=prove(own, other))
            if not hmac.compare_digest((await self.read("proof"))["proof"], prove(other, own)):
                raise Refused("unpaired", "it does not know the secret")
        self.told = {origin: journals.held(origin) for origin in journals}
        await self.send(type="holds", holds=list(self.told.values()))
        for held in (await self.read("holds"))["holds"]:
            self.want(held)

    def want(self, held):
        """Asks for what the peer holds and this lane does not, and for whatever it gets from then on."""
        origin, after = held["origin"], self.journals.end(held["origin"], held["begin"])["seq"]
        if origin not in (self.lane.node, *self.asked) and held["begin"]["seq"] <= after <= held["end"]["seq"]:
            self.asked[origin] = held["begin"]
            self.answer(type="want", origin=origin, after=after)

    def answer(self, **said):
        self.answers.append(said)
        self.journals.wake()

    def hear(self, said):
        journals, kind, origin = self.journals, said.get("type"), said.get("origin")
        if kind is None and said.get("topic") in TOPICS:
            journals.keep(said, self.asked[said["fromTerminal"]])
            self.answer(type="ack", messageId=said["id"])
        elif kind == "want" and journals.has(origin, said["after"]):
            tell("wanted", origin=origin, after=said["after"])
            self.wants[origin] = said["after"]
            journals.wake()
        elif kind == "want":
            self.wants.pop(origin, None)
            self.answer(type="gone", origin=origin)
        elif kind == "stop":
            self.wants.pop(origin, None)
        elif kind == "have":
            self.want(said)
        elif kind == "gone":
            self.asked.pop(origin, None)
        elif kind == "inventory_request":  # It counts no stock: it is behind by all that it holds.
            entries = sum(map(len, journals.values()))
            self.answer(type="inventory_response", number=said["number"], answers=[], behind=entries)

    def next(self):
        """What is to be said now: an answer before news, and news before entries."""
        if self.answers:
            return self.answers.pop(0)
        for origin in self.journals:
            if self.told.get(origin) != (held := self.journals.held(origin)):
                self.told[origin] = held
                return {"type": "have"} | held
        for origin, after in self.wants.items():
            place = after - self.journals.held(origin)["begin"]["seq"]
            for entry in self.journals[origin][place : place + 1]:
                self.wants[origin] = entry["payload"]["seq"]
                return entry

    async def speak(self):
        while True:
            news = self.journals.news
            while said := self.next():
                await self.send(**said)
            await news.wait()
