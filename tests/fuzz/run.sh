#!/bin/sh
# Fuzzes each target for MINUTES minutes (default 10), two at a time, or only the targets that are named:
#     MINUTES=1 tests/fuzz/run.sh frame_decode
#
# Starts from tests/fuzz/corpus, which is only read; what the fuzzer adds stays in target/fuzz/corpus, so that the next
# run goes on from there. Says what came out in words, writes target/reports/fuzz.json, and fails on any finding.
set -eu
cd "$(dirname "$0")/../.."

minutes=${MINUTES:-10}
case $minutes in
'' | *[!0-9]* | 0) echo "fuzz: MINUTES is '$minutes', which is not a whole number from 1" >&2; exit 64 ;;
esac
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: cargo-fuzz is not installed; 'cargo install cargo-fuzz --locked' installs it" >&2
    exit 69
fi

work=${CARGO_TARGET_DIR:-target}/fuzz
reports=${CARGO_TARGET_DIR:-target}/reports
host=$(rustc -vV | sed -n 's/^host: //p')
targets=$*
if [ -z "$targets" ]; then
    for file in tests/fuzz/fuzz_targets/*.rs; do targets="$targets $(basename "$file" .rs)"; done
fi
for target in $targets; do
    [ -f "tests/fuzz/fuzz_targets/$target.rs" ] || { echo "fuzz: there is no target '$target'" >&2; exit 64; }
done

# Without a sanitizer: our code has no unsafe blocks, so that panics are what there is to find. The stable compiler does.
echo "fuzz: building"
cargo metadata --locked --format-version 1 --manifest-path tests/fuzz/Cargo.toml >/dev/null || {
    echo "fuzz: tests/fuzz/Cargo.lock has fallen behind: copy Cargo.lock over it, run cargo metadata in tests/fuzz" >&2
    exit 65
}
cargo fuzz build --sanitizer none --fuzz-dir tests/fuzz --target-dir "$work"

# Runs one target to its end; its log ends with libFuzzer's statistics.
fuzz_one() {
    rm -rf "$work/artifacts/$1"
    mkdir -p "$work/corpus/$1" "$work/artifacts/$1" "$work/logs"
    "$work/$host/release/$1" "$work/corpus/$1" "tests/fuzz/corpus/$1" "-artifact_prefix=$work/artifacts/$1/" \
        "-max_total_time=$((minutes * 60))" -max_len=65536 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        >"$work/logs/$1.log" 2>&1 || echo "ended with status $?" >>"$work/logs/$1.log"
    date +%s >"$work/logs/$1.ended"
}

started=$(date +%s)
echo "fuzz: $minutes minutes for each of$(printf ' %s' $targets), two at a time"
set -- $targets
while [ $# -gt 0 ]; do
    pair_started=$(date +%s)
    for target in "$1" ${2:-}; do
        echo "$pair_started" >"$work/$target.started"
        fuzz_one "$target" &
    done
    wait
    shift
    [ $# -eq 0 ] || shift
done

mkdir -p "$reports"
rows=
findings=0
broken=0
for target in $targets; do
    log=$work/logs/$target.log
    seconds=$(($(cat "$work/logs/$target.ended") - $(cat "$work/$target.started")))
    rm -f "$work/$target.started" "$work/logs/$target.ended"
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    inputs=$(find "$work/corpus/$target" "tests/fuzz/corpus/$target" -type f | wc -l | tr -d ' ')
    found=$(find "$work/artifacts/$target" -type f | wc -l | tr -d ' ')
    findings=$((findings + found))
    echo "fuzz: $target ran ${executions:-0} inputs in $seconds seconds, keeps $inputs of them, and found $found faults"
    for artifact in $(find "$work/artifacts/$target" -type f); do
        echo "fuzz:   again: $work/$host/release/$target $artifact" >&2
    done
    if [ "$found" -eq 0 ] && grep -q '^ended with status' "$log"; then
        echo "fuzz:   $target did not run to its end: see $log" >&2
        broken=1
    fi
    row=$(printf '{"name": "%s", "seconds": %d, "executions": %d, "corpus": %d, "findings": %d}' \
        "$target" "$seconds" "${executions:-0}" "$inputs" "$found")
    rows="$rows${rows:+, }$row"
done
printf '{"targets": [%s], "findings": %d}\n' "$rows" "$findings" >"$reports/fuzz.json"
echo "fuzz: $findings findings in $(($(date +%s) - started)) seconds; figures in $reports/fuzz.json"
[ "$findings" -eq 0 ] && [ "$broken" -eq 0 ]
