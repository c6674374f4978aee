"""Conversations as packets.

`Wire` writes whole conversations (handshake, data, close), so that a detector's application layers have
something to read. Every choice comes from a seeded generator: the same calls give the same packets.

`Wire.seen` lists what a server of the customer would have logged; `wazuh.py` makes its lines from it, so
that the two detectors tell of the same events.
"""

import random
import struct

from scapy.all import DNS, DNSQR, DNSRR, IP, TCP, UDP, Ether, Raw

SECOND = 1_000_000
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def clock(text):
    """Microseconds since midnight of `hh:mm:ss`."""
    hours, minutes, seconds = (int(part) for part in text.split(":"))
    return ((hours * 60 + minutes) * 60 + seconds) * SECOND


def inside(address):
    """Whether the address is one of a customer's."""
    return address.startswith(("10.", "192.168.", "172.16."))


def hello(name, version=0x0303):
    """A TLS ClientHello that asks for `name`."""
    host = name.encode()
    sni = struct.pack(">HHHBH", 0, len(host) + 5, len(host) + 3, 0, len(host)) + host
    suites = bytes.fromhex("c02fc030009c009d002f0035")
    body = struct.pack(">H", version) + bytes(range(32)) + b"\0"
    body += struct.pack(">H", len(suites)) + suites + b"\x01\0" + struct.pack(">H", len(sni)) + sni
    shake = b"\x01" + struct.pack(">I", len(body))[1:] + body
    return b"\x16\x03\x01" + struct.pack(">H", len(shake)) + shake


def hello_back(version=0x0303):
    """The ServerHello for `hello`, with ChangeCipherSpec, after which all is taken to be encrypted."""
    body = struct.pack(">H", version) + bytes(range(32, 64)) + b"\0" + bytes.fromhex("c02f00")
    shake = b"\x02" + struct.pack(">I", len(body))[1:] + body
    record = struct.pack(">BHH", 22, version, len(shake)) + shake
    return record + struct.pack(">BHHB", 20, version, 1, 1)


def smb2(command, body, message, answer=False):
    """An SMB2 message in its NetBIOS frame."""
    head = b"\xfeSMB" + struct.pack("<HHIHHIIQIIQ", 64, 0, 0, command, 31, int(answer), 0, message, 0, 1, 7)
    packet = head + bytes(16) + body
    return struct.pack(">I", len(packet)) + packet


def key_exchange():
    """An SSH key exchange offer."""
    names = [b"curve25519-sha256", b"ssh-ed25519", b"aes256-ctr", b"aes256-ctr", b"hmac-sha2-256",
             b"hmac-sha2-256", b"none", b"none", b"", b""]
    body = b"\x14" + bytes(range(16)) + b"".join(struct.pack(">I", len(n)) + n for n in names) + bytes(5)
    pad = 8 - (len(body) + 5) % 8 + 4
    return struct.pack(">IB", len(body) + pad + 1, pad) + body + bytes(pad)


class Wire:
    """Packets of one network, as (time in microseconds since midnight, order, bytes)."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.packets = []
        self.seen = []
        self.port = 33_000

    def put(self, at, client, layers):
        """One packet, sent by `client` at `at`."""
        mac = "02:00:" + ":".join(f"{int(part):02x}" for part in client.split("."))
        frame = Ether(src=mac, dst="02:00:00:00:00:01") / layers
        self.packets.append((at, len(self.packets), bytes(frame)))

    def sport(self):
        """The next client port: never the same twice within a day."""
        self.port += self.rng.randint(1, 4)
        assert self.port < 65_536
        return self.port

    def spread(self, start, end, count):
        """`count` times between two clock texts, in order."""
        return sorted(self.rng.randrange(clock(start), clock(end)) for _ in range(count))

    def every(self, start, end, seconds, jitter=0):
        """Times with a fixed period, each moved by up to `jitter` milliseconds."""
        times = range(clock(start), clock(end), seconds * SECOND)
        return [at + self.rng.randint(0, jitter * 1000) for at in times]

    def tcp(self, at, client, server, port, turns=(), answer="open", think=2_000):
        """One connection. `turns` are (from the client, data); `answer` is open, closed or silent."""
        sport, far = self.sport(), not (inside(client) and inside(server))
        delay = self.rng.randint(18_000, 60_000) if far else self.rng.randint(150, 400)
        seq = {True: self.rng.getrandbits(31), False: self.rng.getrandbits(31)}

        def send(up, flags, data=b""):
            nonlocal at
            pair = (client, server, sport, port) if up else (server, client, port, sport)
            ip = IP(src=pair[0], dst=pair[1], ttl=64 if inside(pair[0]) else 52, id=len(self.packets) % 65_536)
            ack = seq[not up] if "A" in flags else 0
            layers = ip / TCP(sport=pair[2], dport=pair[3], flags=flags, seq=seq[up], ack=ack)
            self.put(at, pair[0], layers / Raw(data) if data else layers)
            seq[up] = (seq[up] + len(data) + ("S" in flags or "F" in flags)) % 2**32
            at += delay

        send(True, "S")
        if answer == "closed":
            send(False, "RA")
        if answer != "open":
            return
        send(False, "SA")
        send(True, "A")
        for up, data in turns:
            at += think + self.rng.randint(0, think)
            for begin in range(0, len(data), 1_400):
                send(up, "PA", data[begin : begin + 1_400])
            send(not up, "A")
        send(True, "FA")
        send(False, "FA")
        send(True, "A")

    def http(self, at, client, server, host, uri, method="GET", agent=FIREFOX, status=200, body=b"",
             reply=None, headers=(), port=80, kind="text/html"):
        """One request and its answer."""
        reply = b"<html>" + b"x" * self.rng.randint(80, 900) + b"</html>" if reply is None else reply
        lines = [f"{method} {uri} HTTP/1.1", f"Host: {host}", f"User-Agent: {agent}", "Accept: */*", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        words = {200: "OK", 302: "Found", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
                 500: "Internal Server Error"}
        back = [f"HTTP/1.1 {status} {words[status]}", "Server: nginx", f"Content-Type: {kind}",
                f"Content-Length: {len(reply)}"]
        turns = [(up, "\r\n".join(head).encode() + b"\r\n\r\n" + data)
                 for up, head, data in ((True, lines, body), (False, back, reply))]
        self.tcp(at, client, server, port, turns)
        self.seen.append({"kind": "http", "at": at, "client": client, "server": server, "method": method,
                          "uri": uri, "status": status, "length": len(reply), "agent": agent})

    def dns(self, at, client, server, name, answer="203.0.113.80", kind="A"):
        """One query and its answer; no `answer` is a name that does not exist."""
        port, number = self.sport(), self.rng.getrandbits(16)
        ask = DNSQR(qname=name, qtype=kind)
        self.put(at, client, IP(src=client, dst=server) / UDP(sport=port, dport=53) / DNS(id=number, rd=1, qd=ask))
        found = DNSRR(rrname=name, type=kind, ttl=300, rdata=answer) if answer else None
        reply = DNS(id=number, qr=1, ra=1, rd=1, rcode=0 if answer else 3, qd=ask, an=found)
        self.put(at + self.rng.randint(700, 30_000), server,
                 IP(src=server, dst=client) / UDP(sport=53, dport=port) / reply)

    def tls(self, at, client, server, name, version=0x0303):
        """One connection on 443 with something sent either way."""
        record = struct.pack(">BHH", 23, version, 600) + self.rng.randbytes(600)
        done = struct.pack(">BHHB", 20, version, 1, 1)
        turns = [(True, hello(name, version)), (False, hello_back(version)), (True, done + record), (False, record)]
        self.tcp(at, client, server, 443, turns)

    def ssh(self, at, client, server, user, software="OpenSSH_9.2p1", result="failed", port=22):
        """One login attempt. `result`, for the server's log, is failed, invalid (no such user) or accepted."""
        kex, blob = key_exchange(), self.rng.randbytes(640 if result == "accepted" else 160)
        turns = [(False, b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"), (True, f"SSH-2.0-{software}\r\n".encode()),
                 (True, kex), (False, kex), (True, blob), (False, blob)]
        self.tcp(at, client, server, port, turns)
        self.seen.append({"kind": "ssh", "at": at + SECOND, "client": client, "server": server, "user": user,
                          "result": result, "port": self.port})

    def ftp(self, at, client, server, user, word):
        """A login with the password in clear."""
        lines = ["220 (vsFTPd 3.0.5)", f"USER {user}", "331 Please specify the password.", f"PASS {word}",
                 "230 Login successful.", "QUIT", "221 Goodbye."]
        self.tcp(at, client, server, 21, [(i % 2 == 1, f"{line}\r\n".encode()) for i, line in enumerate(lines)])

    def smb(self, at, client, server, share):
        """Negotiate a dialect and connect to a share."""
        path = share.encode("utf-16-le")
        ask = struct.pack("<HHHHI", 36, 2, 1, 0, 0) + bytes(24) + struct.pack("<HH", 0x0210, 0x0302)
        agreed = struct.pack("<HHHH", 65, 1, 0x0302, 0) + bytes(16) + struct.pack("<IIII", 1, 65_536, 65_536, 65_536)
        agreed += bytes(16) + struct.pack("<HHI", 128, 0, 0)
        tree = struct.pack("<HHHH", 9, 0, 72, len(path)) + path
        joined = struct.pack("<HBBIII", 16, 1, 0, 0, 0, 0x1F01FF)
        self.tcp(at, client, server, 445, [(True, smb2(0, ask, 0)), (False, smb2(0, agreed, 0, True)),
                                           (True, smb2(3, tree, 1)), (False, smb2(3, joined, 1, True))])

    def modbus(self, at, client, server, write):
        """Read ten registers, or write one."""
        function, value = (6, self.rng.randint(0, 900)) if write else (3, 10)
        ask = struct.pack(">HHHBBHH", 1, 0, 6, 1, function, 40, value)
        back = ask if write else struct.pack(">HHHBBB", 1, 0, 23, 1, 3, 20) + bytes(20)
        self.tcp(at, client, server, 502, [(True, ask), (False, back)])

    def stratum(self, at, client, server, worker):
        """A miner that logs in to its pool."""
        login = ('{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"%s","pass":"x",'
                 '"agent":"miner/6.20"}}\n' % worker)
        back = '{"id":1,"jsonrpc":"2.0","error":null,"result":{"id":"1","status":"OK"}}\n'
        self.tcp(at, client, server, 3333, [(True, login.encode()), (False, back.encode())])

    def scan(self, at, client, server, ports, gap=40_000, opened=(22, 80)):
        """Try ports one after the other; a few of them are silent, the others closed."""
        for n, port in enumerate(ports):
            answer = "open" if port in opened else "silent" if n % 9 == 0 else "closed"
            self.tcp(at + n * gap, client, server, port, answer=answer)

    def label(self, length):
        """Letters and digits such as no person chooses."""
        return "".join(self.rng.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(length))
