"""Alerts in the form of Wazuh 4's `alerts.json`, composed here and not by Wazuh.

The lines tell of what `days.py` put on the wire (`Wire.seen`: logins and web requests) and of what only a
host can see (accounts, files, services). Numbers, levels and titles of the rules are those Wazuh ships,
every log text is made here. Rules that count are followed: the eighth failed login of one source within
two minutes is reported by the rule for brute force in place of the single one, as Wazuh does.
"""

import datetime
import hashlib

from wire import SECOND, clock

AGENTS = {
    "acme": {"10.20.1.10": "acme-dc1", "10.20.1.20": "acme-fs1", "10.20.1.30": "acme-jump1",
             "10.20.1.40": "acme-erp1", "10.20.1.60": "acme-hist1", "10.20.10.114": "ACME-WS-014",
             "10.20.10.121": "ACME-WS-021"},
    "globex": {"172.16.5.11": "gx-web-01", "172.16.5.12": "gx-web-02", "172.16.5.20": "gx-mail-01",
               "192.168.40.31": "gx-app-01", "192.168.40.21": "gx-db-01"},
}
SSHD = {"parent": "sshd", "name": "sshd"}
OSSEC = {"parent": "ossec", "name": "ossec"}
PROVIDER = "{54849625-5478-4994-a5ba-3e3b0328c30d}"
# Technique: name, tactics.
MITRE = {
    "T1021": ("Remote Services", ["Lateral Movement"]),
    "T1021.004": ("SSH", ["Lateral Movement"]),
    "T1055": ("Process Injection", ["Defense Evasion", "Privilege Escalation"]),
    "T1059.007": ("JavaScript", ["Execution"]),
    "T1078": ("Valid Accounts", ["Defense Evasion", "Persistence", "Privilege Escalation", "Initial Access"]),
    "T1078.002": ("Domain Accounts", ["Defense Evasion", "Persistence", "Privilege Escalation", "Initial Access"]),
    "T1083": ("File and Directory Discovery", ["Discovery"]),
    "T1098": ("Account Manipulation", ["Persistence", "Privilege Escalation"]),
    "T1110": ("Brute Force", ["Credential Access"]),
    "T1110.001": ("Password Guessing", ["Credential Access"]),
    "T1136": ("Create Account", ["Persistence"]),
    "T1190": ("Exploit Public-Facing Application", ["Initial Access"]),
    "T1484": ("Domain Policy Modification", ["Defense Evasion", "Privilege Escalation"]),
    "T1531": ("Account Access Removal", ["Impact"]),
    "T1543.003": ("Windows Service", ["Persistence", "Privilege Escalation"]),
    "T1548.003": ("Sudo and Sudo Caching", ["Privilege Escalation", "Defense Evasion"]),
    "T1550.002": ("Pass the Hash", ["Defense Evasion", "Lateral Movement"]),
    "T1565.001": ("Stored Data Manipulation", ["Impact"]),
    "T1595.002": ("Vulnerability Scanning", ["Reconnaissance"]),
}
AUTH = {"gdpr": ["IV_35.7.d", "IV_32.2"], "hipaa": ["164.312.b"], "nist_800_53": ["AU.14", "AC.7"],
        "pci_dss": ["10.2.4", "10.2.5"], "tsc": ["CC6.1", "CC6.8", "CC7.2", "CC7.3"]}
WEB = {"gdpr": ["IV_35.7.d"], "nist_800_53": ["SA.11", "SI.4"], "pci_dss": ["6.5", "11.4"], "tsc": ["CC6.6", "CC7.1"]}
FILES = {"gdpr": ["II_5.1.f"], "nist_800_53": ["SI.7"], "pci_dss": ["11.5"], "tsc": ["PI1.4", "PI1.5", "CC6.1"]}
# Rule: level, title, techniques, groups, regulations.
RULES = {
    "503": (3, "Wazuh agent started.", [], ["ossec"], {}),
    "533": (7, "Listened ports status (netstat) changed (new port opened or closed).", [], ["ossec"], {}),
    "550": (7, "Integrity checksum changed.", ["T1565.001"],
            ["ossec", "syscheck", "syscheck_entry_modified", "syscheck_file"], FILES),
    "554": (5, "File added to the system.", [], ["ossec", "syscheck", "syscheck_entry_added", "syscheck_file"], FILES),
    "2902": (7, "New dpkg (Debian Package) installed.", [], ["syslog", "dpkg", "config_changed"], {}),
    "5402": (3, "Successful sudo to ROOT executed.", ["T1548.003"], ["syslog", "sudo"], AUTH),
    "5501": (3, "PAM: Login session opened.", ["T1078"], ["pam", "syslog", "authentication_success"], AUTH),
    "5710": (5, "sshd: Attempt to login using a non-existent user", ["T1110.001", "T1021.004"],
             ["syslog", "sshd", "authentication_failed", "invalid_login"], AUTH),
    "5712": (10, "sshd: brute force trying to get access to the system. Non existent user.", ["T1110"],
             ["syslog", "sshd", "authentication_failures"], AUTH),
    "5715": (3, "sshd: authentication success.", ["T1078", "T1021"],
             ["syslog", "sshd", "authentication_success"], AUTH),
    "5760": (5, "sshd: authentication failed.", ["T1110.001", "T1021.004"],
             ["syslog", "sshd", "authentication_failed"], AUTH),
    "5763": (10, "sshd: brute force trying to get access to the system. Authentication failed.", ["T1110"],
             ["syslog", "sshd", "authentication_failures"], AUTH),
    "5901": (8, "New group added to the system.", [], ["syslog", "adduser"], AUTH),
    "5902": (8, "New user added to the system.", ["T1136"], ["syslog", "adduser"], AUTH),
    "31101": (5, "Web server 400 error code.", [], ["web", "accesslog", "attack"], WEB),
    "31103": (7, "SQL injection attempt.", ["T1190"], ["web", "accesslog", "attack", "sql_injection"], WEB),
    "31104": (6, "Common web attack.", ["T1055", "T1083", "T1190"], ["web", "accesslog", "attack"], WEB),
    "31105": (6, "XSS (Cross Site Scripting) attempt.", ["T1059.007"], ["web", "accesslog", "attack"], WEB),
    "31106": (6, "A web attack returned code 200 (success).", ["T1190"], ["web", "accesslog", "attack"], WEB),
    "31122": (5, "Web server 500 error code (Internal Error).", [], ["web", "accesslog", "system_error"], {}),
    "31151": (10, "Multiple web server 400 error codes from same source ip.", ["T1595.002"],
              ["web", "accesslog", "web_scan", "recon"], WEB),
    "31152": (10, "Multiple SQL injection attempts from same source ip.", ["T1055"],
              ["web", "accesslog", "attack", "sql_injection"], WEB),
    "31153": (10, "Multiple common web attacks from same source ip.", ["T1055", "T1083"],
              ["web", "accesslog", "attack"], WEB),
    "40112": (12, "Multiple authentication failures followed by a success.", ["T1078", "T1110"],
              ["syslog", "attacks"], AUTH),
    "60106": (3, "Windows Logon Success", ["T1078"], ["windows", "windows_security", "authentication_success"], AUTH),
    "60109": (8, "User account enabled or created", ["T1098"],
              ["windows", "windows_security", "adduser", "account_changed"], AUTH),
    "60122": (5, "Logon Failure - Unknown user or bad password", ["T1531"],
              ["windows", "windows_security", "authentication_failed"], AUTH),
    "60154": (12, "Administrators Group Changed", ["T1484"],
              ["windows", "windows_security", "group_changed", "win_group_changed"], AUTH),
    "61138": (5, "New Windows Service Created", ["T1543.003"], ["windows", "windows_system"], {}),
    "80792": (3, "Audit: Command: {}.", [], ["audit", "audit_command"], {}),
    "92652": (6, "Successful Remote Logon Detected - User:\\{} - NTLM authentication, possible pass-the-hash attack.",
              ["T1550.002", "T1078.002"], ["win_evt_channel", "windows", "authentication_success"], AUTH),
}
# Rule for one event: the rule for many of them from one source, how many, within how many seconds.
MANY = {"5710": ("5712", 8, 120), "5760": ("5763", 8, 120), "31101": ("31151", 14, 90),
        "31103": ("31152", 8, 120), "31104": ("31153", 10, 120)}
# A web server's plain errors are thinned to one in so many, lest they be most of the file.
THINNED = {"31101": 3}


class Manager:
    """One customer's Wazuh manager: takes events in any order, writes alerts in order of time."""

    def __init__(self, tenant, midnight):
        self.tenant, self.midnight = tenant, midnight
        self.agents, self.events = AGENTS[tenant], []

    def moment(self, at):
        """The wall clock, UTC, for microseconds since midnight."""
        midnight = datetime.datetime.fromtimestamp(self.midnight, datetime.timezone.utc)
        return midnight + datetime.timedelta(microseconds=at)

    def add(self, at, address, rule, decoder, location, log=None, data=None, word=None, **more):
        """One event of the agent at `address`; `word` goes into the rule's title."""
        self.events.append((at, len(self.events), address, rule, decoder, location, log, data or {}, word, more))

    def syslog(self, at, address, rule, program, text, data=None, decoder=None, location="/var/log/auth.log"):
        """One line of a Linux host's log; the decoder is named after the program, or as said."""
        host, stamp = self.agents[address], self.moment(at).strftime("%b %e %H:%M:%S")
        name = program.split("[")[0]
        head = {"program_name": name, "timestamp": stamp, "hostname": host}
        log = f"{stamp} {host} {program}: {text}"
        self.add(at, address, rule, decoder or {"name": name}, location, log, data, predecoder=head)

    def windows(self, at, address, rule, number, channel, message, fields, word=None):
        """One event of a Windows host's event log; Wazuh keeps no full log of these."""
        security = channel == "Security"
        system = {"providerName": "Service Control Manager"}
        if security:
            system = {"providerName": "Microsoft-Windows-Security-Auditing", "providerGuid": PROVIDER}
        severity = "INFORMATION" if not security else "AUDIT_FAILURE" if number == 4625 else "AUDIT_SUCCESS"
        system |= {"eventID": str(number), "level": "0" if security else "4",
                   "systemTime": self.moment(at).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z",
                   "eventRecordID": str(410_000 + at // SECOND), "channel": channel,
                   "computer": f"{self.agents[address]}.{self.tenant}.example",
                   "severityValue": severity, "message": f'"{message}"'}
        self.add(at, address, rule, {"name": "windows_eventchannel"}, "EventChannel",
                 data={"win": {"system": system, "eventdata": fields}}, word=word)

    def file(self, at, address, rule, path, owner="root"):
        """A file that is new (554) or was changed (550)."""
        digest = [hashlib.sha256(f"{path}{n}".encode()).hexdigest() for n in (0, 1)]
        what = "added" if rule == "554" else "modified"
        check = {"path": path, "mode": "realtime", "size_after": str(len(path) * 37), "uname_after": owner,
                 "mtime_after": self.moment(at).strftime("%Y-%m-%dT%H:%M:%S"), "sha256_after": digest[1], "event": what}
        log = f"File '{path}' {what}\nMode: realtime\n"
        if rule == "550":
            check |= {"sha256_before": digest[0], "changed_attributes": ["size", "mtime", "sha256"]}
            log += "Changed attributes: size,mtime,sha256\n"
        decoder = {"name": "syscheck_new_entry" if rule == "554" else "syscheck_integrity_changed"}
        self.add(at, address, rule, decoder, "syscheck", log, syscheck=check)

    def ssh(self, seen, pid):
        """The server's log of one attempt to log in."""
        at, server, user, client, port = (seen[key] for key in ("at", "server", "user", "client", "port"))
        result, origin = seen["result"], {"srcip": client, "srcport": str(port)}
        start = {"failed": f"Failed password for {user}", "invalid": f"Failed password for invalid user {user}",
                 "accepted": f"Accepted password for {user}"}[result]
        data = origin | ({"srcuser": user} if result == "invalid" else {"dstuser": user})
        rule = {"failed": "5760", "invalid": "5710", "accepted": "5715"}[result]
        self.syslog(at, server, rule, f"sshd[{pid}]", f"{start} from {client} port {port} ssh2", data, SSHD)
        if result == "accepted":
            text = f"pam_unix(sshd:session): session opened for user {user}(uid=1007) by (uid=0)"
            data = {"dstuser": f"{user}(uid=1007)", "uid": "0"}
            self.syslog(at + 40_000, server, "5501", f"sshd[{pid}]", text, data, {"parent": "pam", "name": "pam"})

    def web(self, seen):
        """The server's log of one request, if it is of a kind that is reported."""
        uri, status, low = seen["uri"], seen["status"], seen["uri"].lower()
        if "union" in low and "select" in low:
            rule = "31103"
        elif "../" in low or "%2e%2e" in low or "cmd=" in low:
            rule = "31104"
        elif "<script" in low:
            rule = "31105"
        elif status >= 400:
            rule = "31101" if status < 500 else "31122"
        else:
            return
        if rule in ("31103", "31104", "31105") and status == 200:
            rule = "31106"
        stamp = self.moment(seen["at"]).strftime("%d/%b/%Y:%H:%M:%S +0000")
        log = (f'{seen["client"]} - - [{stamp}] "{seen["method"]} {uri} HTTP/1.1" '
               f'{status} {seen["length"]} "-" "{seen["agent"]}"')
        data = {"protocol": seen["method"], "srcip": seen["client"], "id": str(status), "url": uri}
        self.add(seen["at"], seen["server"], rule, {"name": "web-accesslog"}, "/var/log/nginx/access.log", log, data)

    def many(self, at, rule, source, log, recent, quiet):
        """The rule that takes the place of `rule` for this event, its `frequency`, and the logs before it."""
        if rule in MANY:
            other, count, window = MANY[rule]
            near = [entry for entry in recent.get((rule, source), []) if at - entry[0] <= window * SECOND]
            near.append((at, log))
            recent[rule, source] = near
            if len(near) >= count and at >= quiet.get((other, source), 0):
                quiet[other, source], recent[rule, source] = at + 60 * SECOND, []
                return other, {"frequency": count}, [text for _, text in near[:-1]]
        if rule == "5715":
            failed = recent.get(("5710", source), []) + recent.get(("5760", source), [])
            if any(at - then <= 240 * SECOND for then, _ in failed):
                return "40112", {}, []
        return rule, {}, []

    def alerts(self):
        """The alerts, with rules for many events applied, counted and numbered as a manager does."""
        fired, recent, quiet, skipped, offset, out = {}, {}, {}, {}, 20_480, []
        for event in sorted(self.events, key=lambda event: event[:2]):
            at, _, address, rule, decoder, location, log, data, word, more = event
            rule, extra, before = self.many(at, rule, data.get("srcip"), log, recent, quiet)
            if rule in THINNED:
                skipped[rule] = skipped.get(rule, -1) + 1
                if skipped[rule] % THINNED[rule]:
                    continue
            fired[rule] = fired.get(rule, 0) + 1
            level, title, techniques, groups, regulations = RULES[rule]
            offset += 400 + len(log or "")
            body = {"level": level, "description": title.format(word), "id": rule}
            if techniques:
                tactics = dict.fromkeys(tactic for t in techniques for tactic in MITRE[t][1])
                body["mitre"] = {"id": techniques, "tactic": list(tactics),
                                 "technique": [MITRE[t][0] for t in techniques]}
            body |= extra | {"firedtimes": fired[rule], "mail": level >= 12, "groups": groups, **regulations}
            number = f"{list(self.agents).index(address) + 1:03d}"
            alert = {"timestamp": self.moment(at).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000", "rule": body,
                     "agent": {"id": number, "name": self.agents[address], "ip": address},
                     "manager": {"name": f"{self.tenant}-wazuh"}, "id": f"{self.midnight + at // SECOND}.{offset}"}
            alert |= {"previous_output": "\n".join(reversed(before))} if before else {}
            alert |= {"full_log": log} if log else {}
            alert |= more | {"decoder": decoder} | ({"data": data} if data else {}) | {"location": location}
            out.append(alert)
        return out


def logon(m, at, address, user, source, rule="60106", number=4624):
    """A logon over the network at a Windows host."""
    fields = {"subjectUserSid": "S-1-0-0", "targetUserName": user, "targetDomainName": "ACME", "logonType": "3",
              "authenticationPackageName": "NTLM" if rule == "92652" else "Kerberos", "ipAddress": source,
              "ipPort": str(49_200 + at // SECOND % 9_000)}
    done = "failed to log on" if number == 4625 else "was successfully logged on"
    m.windows(at, address, rule, number, "Security", f"An account {done}.", fields, user)


def acme_hosts(m):
    """What only acme's hosts saw."""
    dc, files, jump, erp, hist = (f"10.20.1.{n}" for n in (10, 20, 30, 40, 60))
    users = ["mbauer", "jkeller", "afischer", "lweber", "nhoff"]
    for n in range(22):
        at = clock("08:01:00") + n * 1_270 * SECOND + n * n * 1_713_000 % 60_000_000
        logon(m, at, dc, users[n % 5], f"10.20.10.{101 + n * 7 % 30}")
        if n % 4 == 1:
            logon(m, at - 9 * SECOND, dc, users[n % 5], f"10.20.10.{101 + n * 7 % 30}", "60122", 4625)
    for n, address in enumerate(m.agents):
        m.add(clock("08:00:05") + n * 3_170_000, address, "503", OSSEC, "wazuh-remoted",
              f"ossec: Agent started: '{m.agents[address]}->any'.")
    for n, package in enumerate(["libc6:amd64 2.36-9", "openssl:amd64 3.0.15-1", "tzdata:all 2026b-0"]):
        m.syslog(clock("08:40:00") + n * 2 * SECOND, erp, "2902", "dpkg", f"status installed {package}",
                 {"package": package.split()[0], "version": package.split()[1]}, location="/var/log/dpkg.log")

    def sudo(at, address, user, command):
        text = f"   {user} : TTY=pts/0 ; PWD=/home/{user} ; USER=root ; COMMAND={command}"
        m.syslog(clock(at), address, "5402", "sudo", text,
                 {"srcuser": user, "dstuser": "root", "tty": "pts/0", "pwd": f"/home/{user}", "command": command})

    sudo("08:55:12", erp, "lweber", "/usr/bin/systemctl restart erp")
    sudo("09:29:30", jump, "mbauer", "/usr/bin/id")
    sudo("09:31:02", jump, "mbauer", "/usr/sbin/useradd -m svc-update")
    m.syslog(clock("09:31:03"), jump, "5901", "groupadd[4410]", "new group: name=svc-update, GID=1012",
             {"dstuser": "svc-update", "gid": "1012"})
    m.syslog(clock("09:31:03") + 60_000, jump, "5902", "useradd[4412]",
             "new user: name=svc-update, UID=1012, GID=1012, home=/home/svc-update, "
             "shell=/bin/bash, from=/dev/pts/0",
             {"dstuser": "svc-update", "uid": "1012", "gid": "1012", "home": "/home/svc-update", "shell": "/bin/bash"})
    for at, rule, path in (("09:31:05", "550", "/etc/passwd"), ("09:31:05", "550", "/etc/shadow"),
                           ("09:34:20", "554", "/etc/cron.d/update-agent"),
                           ("09:34:41", "554", "/usr/local/bin/update-agent")):
        m.file(clock(at), jump, rule, path)
    for n in range(9):
        at, target = clock("10:11:31") + n * 47 * SECOND, (files, dc)[n % 2]
        logon(m, at, target, "svc-backup", jump, "92652")
        if n in (2, 5):
            m.windows(at + 3 * SECOND, target, "61138", 7045, "System", "A service was installed in the system.",
                      {"serviceName": "UpdSvc", "imagePath": "C:\\\\Windows\\\\upd.exe",
                       "serviceType": "user mode service",
                       "startType": "demand start", "accountName": "LocalSystem"})
    account = {"targetUserName": "svc-update", "targetDomainName": "ACME", "subjectUserName": "svc-backup",
               "subjectDomainName": "ACME"}
    m.windows(clock("10:18:40"), dc, "60109", 4720, "Security", "A user account was created.", account)
    m.windows(clock("10:18:52"), dc, "60154", 4732, "Security", "A member was added to a security-enabled local group.",
              account | {"targetUserName": "Administrators", "memberName": "CN=svc-update,CN=Users,DC=acme,DC=example"})
    m.file(clock("10:29:15"), hist, "554", "/var/tmp/.cache/kworkerd", owner="svc-update")
    m.add(clock("10:33:00"), hist, "533", {"name": "ossec"}, "netstat listening ports",
          "ossec: output: 'netstat listening ports':\n"
          "tcp 0.0.0.0:22 sshd\ntcp 127.0.0.1:18080 kworkerd")


def globex_hosts(m):
    """What only globex's hosts saw."""
    web, app = "172.16.5.11", "192.168.40.31"
    for n, address in enumerate(m.agents):
        m.add(clock("08:00:04") + n * 2_310_000, address, "503", OSSEC, "wazuh-remoted",
              f"ossec: Agent started: '{m.agents[address]}->any'.")
    for n in range(6):
        m.file(clock("08:26:00") + n * 700_000, web, "550", f"/var/www/shop/static/shop.{n}.js", owner="deploy")
    m.file(clock("10:18:22") + 900_000, web, "554", "/var/www/shop/uploads/invoice-2291.php", owner="www-data")
    commands = ["id", "uname", "cat", "ls", "ss", "cat", "id", "ps", "crontab", "curl", "chmod", "nohup", "id"]
    for n, name in enumerate(commands):
        at, pid, path = clock("10:19:04") + n * 74 * SECOND + 210_000, 7_300 + n * 3, f"/usr/bin/{name}"
        log = (f'type=SYSCALL msg=audit({m.midnight + at // SECOND}.{at // 1_000 % 1_000}:{900 + n}): '
               f'arch=c000003e syscall=59 success=yes exit=0 ppid=812 pid={pid} '
               f'auid=4294967295 uid=33 gid=33 euid=33 comm="{name}" exe="{path}" key="audit-wazuh-c"')
        audit = {"type": "SYSCALL", "id": str(900 + n), "syscall": "59", "success": "yes", "ppid": "812",
                 "pid": str(pid), "uid": "33", "euid": "33",
                 "command": name, "exe": path, "key": "audit-wazuh-c"}
        m.add(at, web, "80792", {"parent": "auditd", "name": "auditd"}, "/var/log/audit/audit.log", log,
              {"audit": audit}, path)
    m.file(clock("10:30:14"), web, "554", "/tmp/.x", owner="www-data")
    m.file(clock("10:33:40"), web, "554", "/var/spool/cron/crontabs/www-data", owner="www-data")
    m.add(clock("10:36:00"), web, "533", {"name": "ossec"}, "netstat listening ports",
          "ossec: output: 'netstat listening ports':\n"
          "tcp 0.0.0.0:80 nginx\ntcp 127.0.0.1:18080 .x")
    m.file(clock("12:28:50"), app, "550", "/opt/shop/lib/session.jar", owner="svc-shop")


def alerts(tenant, seen, midnight):
    """All alerts of one customer's day, in order of time. `midnight` is in Unix seconds."""
    manager = Manager(tenant, midnight)
    for n, entry in enumerate(entry for entry in seen if entry["server"] in manager.agents):
        if entry["kind"] == "ssh":
            manager.ssh(entry, 2_000 + n * 4)
        elif tenant == "globex" or entry["status"] >= 400:
            manager.web(entry)
    {"acme": acme_hosts, "globex": globex_hosts}[tenant](manager)
    return manager.alerts()
