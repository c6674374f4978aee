#!/bin/sh
# Runs schemathesis against a running coordinator's own OpenAPI document: no server error, and no reply that the
# document does not name. Starts `make demo`'s coordinator and agents for it, so that there is something to ask for.
#
# Writes target/reports/api-check.json, and target/reports/api-check.log with what schemathesis says. SECONDS_MAX bounds
# the run (default 300).
set -eu
cd "$(dirname "$0")/.."

mkdir -p "${CARGO_TARGET_DIR:-target}/reports"
target=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
reports=$target/reports
venv=$target/schemathesis
demo_files=$PWD/.demo
seconds=${SECONDS_MAX:-300}

if ! [ -x "$venv/bin/schemathesis" ]; then
    echo "api-check: installing schemathesis into $venv"
    python3 -m venv "$venv" || { echo "api-check: needs python3 with venv (Debian: apt-get install python3-venv)" >&2; exit 69; }
    "$venv/bin/pip" install --quiet 'schemathesis>=4,<5'
fi

echo "api-check: starting a coordinator and agents"
"$target/debug/demo" >"$reports/api-check.demo.log" 2>&1 </dev/null &
demo=$!
trap 'kill -TERM $demo 2>/dev/null; wait $demo 2>/dev/null || true' EXIT INT TERM
waited=0
until grep -q "^Ctrl-C ends it" "$reports/api-check.demo.log" 2>/dev/null; do
    kill -0 $demo 2>/dev/null || { cat "$reports/api-check.demo.log" >&2; exit 1; }
    waited=$((waited + 1))
    [ $waited -le 120 ] || { echo "api-check: the demo did not come up within 120 s" >&2; exit 1; }
    sleep 1
done

api=$(sed -n "s/.*SIGNALBOX_COORDINATOR=\([^ ]*\).*/\1/p" "$demo_files/signalbox")

# The administrator's token may do everything, so that every route is reached. Negative and positive acceptance are not
# asked for: a cursor or a case's name is a text to the document, and few texts are one. It keeps what it learnt in the
# folder that it runs in.
status=0
cd "$reports"
"$venv/bin/schemathesis" run "$api/v1/openapi.json" \
    --header "Authorization: Bearer $(cat "$demo_files/store/admin.token")" --tls-verify "$demo_files/coordinator/root.pem" \
    --phases examples,coverage,fuzzing --continue-on-failure --max-time "$seconds" --request-timeout 60 \
    --exclude-path /v1/events \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance,unsupported_method \
    --report json --report-dir "$reports/api-check" --no-color >"$reports/api-check.log" 2>&1 || status=$?
tail -n 30 "$reports/api-check.log"
python3 - "$status" "$reports" <<'PYTHON'
import json, re, sys
status, reports = int(sys.argv[1]), sys.argv[2]
log = open(f"{reports}/api-check.log", encoding="utf-8").read()
number = lambda pattern: int(match.group(1)) if (match := re.search(pattern, log)) else 0
report = {
    "operations": number(r"Tested: (\d+)"),
    "test_cases": number(r"(\d+) generated"),
    "server_errors": len(re.findall(r"- (?:ST\d+ )?Server error", log)),
    "undocumented": len(re.findall(r"- (?:ST\d+ )?Undocumented", log)),
    "status": status,
}
with open(f"{reports}/api-check.json", "w", encoding="utf-8") as out:
    json.dump(report, out, indent=2)
    out.write("\n")
print(f"wrote {reports}/api-check.json: {report}")
PYTHON
exit $status
