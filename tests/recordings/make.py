#!/usr/bin/env python3
"""Make the recordings of two customers: Suricata's EVE lines and alerts in Wazuh's form.

    python3 make.py                  both customers, into the folders beside this file
    python3 make.py --repeat 100000 --out big.json
                                     that many alert lines, varied from the recorded ones, for measuring

Needs scapy (from PyPI) and, save for --repeat, Suricata 7 (from Debian's backports). The captures are made
in a temporary folder and thrown away. Two runs give the same bytes.
"""

import argparse
import datetime
import hashlib
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MIDNIGHT = int(datetime.datetime(2026, 11, 2, tzinfo=datetime.timezone.utc).timestamp())
NETWORKS = {"acme": "[10.20.0.0/16]", "globex": "[192.168.40.0/24,172.16.5.0/24]"}
# Of the lines in an eve.json about this part is not alerts.
OTHER_SHARE = 0.15


def write_capture(packets, path):
    """Write packets as a pcap file, oldest first."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1))
        for at, _, frame in sorted(packets):
            seconds, micros = divmod(at, 1_000_000)
            file.write(struct.pack("<IIII", MIDNIGHT + seconds, micros, len(frame), len(frame)) + frame)


def run_suricata(name, capture, folder):
    """Run Suricata over a capture; its events, in the order they were written."""
    command = ["suricata", "-c", HERE / "suricata.yaml", "-S", HERE / "local.rules", "-r", capture, "-l", folder,
               "-k", "none", "--runmode", "single", "--set", f"vars.address-groups.HOME_NET={NETWORKS[name]}",
               "--set", f"sensor-name={name}-ids1"]
    done = subprocess.run(command, env={**os.environ, "TZ": "UTC"}, capture_output=True, text=True, check=False)
    if done.returncode != 0 or "Error" in done.stderr:
        sys.exit(f"suricata failed:\n{done.stderr}")
    return [json.loads(line) for line in (folder / "eve.json").read_text().splitlines()]


def settle(event):
    """Replace what differs from run to run, and only that.

    Suricata salts `flow_id` at each start, so it is counted anew from the connection itself. Offline, the
    moment at which an idle flow is written out depends on the scheduling of a thread, so a flow's line bears
    the time of its last packet, and timeout as the reason.
    """
    flow = event.get("flow", {})
    ends = sorted([(event["src_ip"], event.get("src_port", 0)), (event["dest_ip"], event.get("dest_port", 0))])
    digest = hashlib.sha256(repr((ends, event["proto"])).encode()).digest()
    event["flow_id"] = int.from_bytes(digest[:8], "big") >> 13
    if event["event_type"] == "flow":
        event["timestamp"] = flow["end"]
        flow["reason"] = "timeout"
    return event


def select(events):
    """All alerts, and of the other events an even sample, in order of time."""
    alerts = [event for event in events if event["event_type"] == "alert"]
    others = sorted((event for event in events if event["event_type"] != "alert"),
                    key=lambda event: (event["event_type"], event["timestamp"], event["flow_id"]))
    wanted = round(len(alerts) * OTHER_SHARE / (1 - OTHER_SHARE))
    sample = [others[n * len(others) // wanted] for n in range(wanted)]
    return sorted(alerts + sample, key=lambda event: event["timestamp"])


def write_lines(records, path):
    """Write records as JSON lines, with no space, as detectors do."""
    path.parent.mkdir(exist_ok=True)
    text = "".join(json.dumps(record, separators=(",", ":"), ensure_ascii=False) + "\n" for record in records)
    path.write_text(text)
    print(f"{path.relative_to(HERE)}: {len(records)} lines, {len(text.encode()) // 1000} kB")


def record():
    """Make the four files."""
    try:
        import days
        import wazuh
    except ImportError as error:
        sys.exit(f"{error}: scapy is needed (pip install scapy)")
    if shutil.which("suricata") is None:
        sys.exit("suricata is needed: Suricata 7 from Debian's backports")
    for name, day in (("acme", days.acme), ("globex", days.globex)):
        wire = day()
        with tempfile.TemporaryDirectory() as scratch:
            capture = Path(scratch) / f"{name}.pcap"
            write_capture(wire.packets, capture)
            events = [settle(event) for event in run_suricata(name, capture, Path(scratch))]
        write_lines(select(events), HERE / name / "eve.json")
        write_lines(wazuh.alerts(name, wire.seen, MIDNIGHT), HERE / name / "alerts.json")


def repeat(count, out):
    """Write `count` alerts like the recorded ones: other addresses, ports and flows, ever later."""
    rng = random.Random(count)
    alerts = [json.loads(line) for name in NETWORKS for line in (HERE / name / "eve.json").open()]
    alerts = [alert for alert in alerts if alert["event_type"] == "alert"]
    start = datetime.datetime.fromtimestamp(MIDNIGHT, datetime.timezone.utc)
    with open(out, "w", encoding="utf-8") as file:
        for n in range(count):
            alert = dict(alerts[n % len(alerts)])
            alert["timestamp"] = (start + datetime.timedelta(milliseconds=n)).strftime("%Y-%m-%dT%H:%M:%S.%f+0000")
            alert["flow_id"] = rng.getrandbits(50)
            alert["src_ip"] = alert["src_ip"].rsplit(".", 1)[0] + f".{rng.randint(1, 254)}"
            alert["src_port"] = rng.randint(32_768, 60_999)
            file.write(json.dumps(alert, separators=(",", ":")) + "\n")


def main():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, metavar="N", help="write N varied alert lines instead")
    parser.add_argument("--out", default="big.json", help="where --repeat writes (%(default)s)")
    arguments = parser.parse_args()
    if arguments.repeat:
        repeat(arguments.repeat, arguments.out)
    else:
        record()


if __name__ == "__main__":
    main()
