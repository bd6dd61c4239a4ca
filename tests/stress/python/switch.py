"""The network between namespaces, as a program: it hands on every packet, and loses, delays, repeats or overtakes those
of each way as it is told. A kernel that has no `netem` has packet sockets still.

Arguments: a seed, then names of interfaces, the ends on this side of veth pairs. Host number N is behind the Nth, with the
hardware address 02:00:00:00:00:NN. A line of standard input is a list of rules that take the place of those before:
[{"from": 0, "to": 1, "cut": false, "loss": 300, "delay": 2000, "again": 100, "late": 100}], in packets of a thousand and in
milliseconds; each is answered with a line: how many packets were handed on, cut, lost, delayed, repeated and made late."""

import heapq, json, random, select, socket, sys, time

dice = random.Random(int(sys.argv[1]))
ports = []
for name in sys.argv[2:]:
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    port.bind((name, 0))
    port.setblocking(False)
    ports.append(port)
rules, waiting, number = {}, [], 0
NAMES = ("passed", "cut", "lost", "delayed", "repeated", "late")
counts = dict.fromkeys(NAMES, 0)
LATE = 0.03  # seconds; more than a packet takes, less than a person notices


def carry(packet, source, target):
    global number
    rule = rules.get((source, target), {})
    if rule.get("cut"):
        counts["cut"] += 1
        return
    if packet[12:14] == b"\x08\x00":  # what asks for addresses is only cut
        if dice.randrange(1000) < rule.get("loss", 0):
            counts["lost"] += 1
            return
    else:
        rule = {}
    copies = 1 + (dice.randrange(1000) < rule.get("again", 0))
    counts["repeated"] += copies - 1
    for copy in range(copies):
        wait = rule.get("delay", 0) / 1000 + copy * LATE * dice.random()
        if dice.randrange(1000) < rule.get("late", 0):
            wait += LATE * dice.random()
            counts["late"] += 1
        counts["delayed"] += rule.get("delay", 0) > 0
        number += 1
        heapq.heappush(waiting, (time.monotonic() + wait, number, target, packet))


poll = select.poll()
for port in ports:
    poll.register(port, select.POLLIN)
poll.register(sys.stdin, select.POLLIN)
by_number = {port.fileno(): host for host, port in enumerate(ports)}
print("ready", flush=True)
while True:
    rest = 1000 if not waiting else max(0, (waiting[0][0] - time.monotonic()) * 1000)
    for ready, _ in poll.poll(rest):
        if ready == sys.stdin.fileno():
            line = sys.stdin.readline()
            if not line:
                sys.exit()
            rules = {(rule["from"], rule["to"]): rule for rule in json.loads(line)}
            print(json.dumps(counts), flush=True)
            continue
        source = by_number[ready]
        for _ in range(256):
            try:
                packet, (_, _, kind, _, _) = ports[source].recvfrom(65536)
            except OSError:
                break  # nothing is there, or nobody any more
            if kind == socket.PACKET_OUTGOING:
                continue
            if packet[0] & 1:
                for target in range(len(ports)):
                    if target != source:
                        carry(packet, source, target)
            elif packet[:5] == b"\x02\0\0\0\0" and packet[5] < len(ports):
                carry(packet, source, packet[5])
    while waiting and waiting[0][0] <= time.monotonic():
        _, _, target, packet = heapq.heappop(waiting)
        try:
            ports[target].send(packet)
            counts["passed"] += 1
        except OSError:
            pass  # the other end is gone, or its queue is full: a packet is lost
