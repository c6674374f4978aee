"""Matches every rule of a folder against every event of a file with pySigma's SQLite backend.

    pysigma.py RULES EVENTS    events as lines of flat JSON objects; prints one JSON object

The events are put into one table with a column for each field that a rule or an event names; each rule becomes one query.
Only the queries are timed, on one core.
"""

import json
import pathlib
import re
import sqlite3
import sys
import time

from sigma.backends.sqlite import sqliteBackend
from sigma.collection import SigmaCollection


def main(rules, events):
    events = [json.loads(line) for line in open(events, encoding="utf-8")]
    queries, refused, columns = [], 0, {}
    for path in sorted(pathlib.Path(rules).iterdir()):
        try:
            collection = SigmaCollection.from_yaml(path.read_text(encoding="utf-8"))
            converted = sqliteBackend().convert(collection)
        except Exception:
            refused += 1
            continue
        for rule in collection:
            for detection in rule.detection.detections.values():
                names(detection, columns)
        queries += converted
    for event in events:
        for name in event:
            columns.setdefault(name.lower(), name)
    database = sqlite3.connect(":memory:")
    # The backend's queries want a function for expressions.
    database.create_function("regexp", 2, lambda p, t: t is not None and bool(re.search(p, str(t))))
    listed = list(columns.values())
    quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in listed)
    # SQLite takes 2,000 columns, more than all rules name.
    database.execute(f"CREATE TABLE logs ({quoted})")
    holes = ", ".join("?" for _ in listed)
    keyed = [{name.lower(): value for name, value in event.items()} for event in events]
    rows = ([stored(event.get(name.lower())) for name in listed] for event in keyed)
    database.executemany(f"INSERT INTO logs VALUES ({holes})", rows)
    matches, failed = 0, 0
    start = time.perf_counter()
    for query in queries:
        try:
            matches += len(database.execute(query).fetchall())
        except sqlite3.Error:
            failed += 1
    seconds = time.perf_counter() - start
    print(json.dumps({
        "events_per_s": len(events) / seconds,
        "events": len(events),
        "loaded": len(queries) - failed,
        "refused": refused + failed,
        "matches": matches,
    }))


def stored(value):
    """SQLite's integers have 64 bits; larger ones are texts."""
    return str(value) if isinstance(value, int) and abs(value) >= 1 << 63 else value


def names(detection, columns):
    for item in detection.detection_items:
        if hasattr(item, "detection_items"):
            names(item, columns)
        elif item.field:
            columns.setdefault(item.field.lower(), item.field)


main(*sys.argv[1:])
