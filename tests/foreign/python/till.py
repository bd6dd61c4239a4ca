"""A till around the lane of `lane.py`, from docs/lanes.md: a line of standard input is a sale, such as [["TEA", 2000, 2550]]: code,
quantity and price in thousandths. What happens is told on standard output."""

import argparse, asyncio, json, pathlib, ssl, sys, time
from websockets.asyncio.server import serve
from journals import Journals
from lane import LINK, Lane, tell


def sell(journals, series, goods):
    """A sale in the own journal, paid in cash."""
    lines = []
    for sku, quantity, price in goods:
        amount = (quantity * price + 5_000) // 10_000
        lines.append({"sku": sku, "description": sku, "quantity": quantity, "unit_price": price, "amount_minor": amount})
    total = sum(line["amount_minor"] for line in lines)
    number = 1 + sum(entry["payload"]["kind"] in (1, 2) for entry in journals.get(journals.own, []))
    receipt = {"trial": False, "series": series, "number": number, "at_ms": time.time_ns() // 1_000_000, "currency": "GBP",
               "total_minor": total, "customer": None, "employee": None, "refund_of": None, "external_ref": None,
               "lines": lines, "payments": [{"tender": "cash", "amount_minor": total}]}
    tell("sold", id=journals.write("transaction", 1, {"topic": "sale", "content": receipt}), number=number)


def context(folder, side):
    """TLS with the certificate of this lane, and the authority that has signed all of them."""
    made = ssl.SSLContext(side)
    made.minimum_version, made.verify_mode = ssl.TLSVersion.TLSv1_3, ssl.CERT_REQUIRED
    made.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    made.load_verify_locations(folder / "authority.pem")
    return made


async def run(args, order):
    journals = Journals(args.state, args.node)
    lane = Lane(journals, args.shop, args.lane, args.secret and args.secret.read_bytes().strip())
    (host, port), scheme, dialed, served = args.listen.rsplit(":", 1), "ws", {}, None
    if args.certificate:
        scheme, served = "wss", context(args.certificate, ssl.PROTOCOL_TLS_SERVER)
        dialed = {"ssl": context(args.certificate, ssl.PROTOCOL_TLS_CLIENT), "server_hostname": "lane.counterfoil.internal"}
    async with serve(lane.meet, host, int(port), origins=[None], ssl=served, **LINK) as server:
        tell("listening", url="%s://%s:%d" % (scheme, *server.sockets[0].getsockname()[:2]))
        dialing = [asyncio.create_task(lane.dial(url, **dialed)) for url in args.dial]
        while line := await asyncio.to_thread(sys.stdin.readline):
            order(journals, args.series, json.loads(line))
        await asyncio.gather(*dialing)
        await server.wait_closed()


def main(order):
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--state", "--shop", "--node"):
        parser.add_argument(name, required=True)
    parser.add_argument("--lane", type=int, default=9)
    parser.add_argument("--series", default="L1")
    parser.add_argument("--secret", type=pathlib.Path, help="the file that the lanes share")
    parser.add_argument("--certificate", type=pathlib.Path, help="a folder with certificate.pem, key.pem and authority.pem")
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--dial", action="append", default=[])
    asyncio.run(run(parser.parse_args(), order))


if __name__ == "__main__":
    main(sell)
