"""Announces lanes that are none, by multicast DNS, as anybody on a network can: arguments are an address of this machine, the
id of a shop, and how many. Their tags are right, and where they are said to be nobody answers."""

import hashlib, socket, struct, sys, time

address, shop, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
SERVICE, PORT, TTL = "_counterfoil._tcp.local", 8123, 120
PTR, TXT, SRV, A = 12, 16, 33, 1
UNIQUE = 0x8001  # of class IN, takes the place of what was known


def name(text):
    return b"".join(bytes([len(part)]) + part.encode() for part in text.split(".")) + b"\0"


def record(owner, kind, data, of=UNIQUE):
    return name(owner) + struct.pack(">HHIH", kind, of, TTL, len(data)) + data


sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
sender.bind(("", 5353))
for number in range(count):
    lane = f"{number:016x}"
    text = f"counterfoil 2026-11 announcement of a lane\n{shop}\n{lane}\n{PORT}\n"
    entries = [b"v=1", b"tag=" + hashlib.sha256(text.encode()).hexdigest()[:16].encode()]
    nowhere = socket.inet_aton(f"10.123.{1 + number // 200}.{1 + number % 200}")
    records = [
        record(SERVICE, PTR, name(f"{lane}.{SERVICE}"), 1),
        record(f"{lane}.{SERVICE}", SRV, struct.pack(">HHH", 0, 0, PORT) + name(f"{lane}.local")),
        record(f"{lane}.{SERVICE}", TXT, b"".join(bytes([len(entry)]) + entry for entry in entries)),
        record(f"{lane}.local", A, nowhere),
    ]
    head = struct.pack(">HHHHHH", 0, 0x8400, 0, len(records), 0, 0)
    sender.sendto(head + b"".join(records), ("224.0.0.251", 5353))
    time.sleep(0.001)
