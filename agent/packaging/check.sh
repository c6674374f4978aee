#!/bin/bash
# Installs the agent's package in a Debian of its own, configures it as a customer would, lets it run without systemd
# against a coordinator on loopback, and looks at what an update, a removal and a purge leave.
#
# usage: check.sh PACKAGE.deb FOLDER-OF-BUILT-PROGRAMS       as root; needs debootstrap
# ROOT=DIR uses a fresh Debian that is already there (it is changed); without it one is made and thrown away.
set -euo pipefail
package=$(readlink -f "$1")
programs=$(cd "$2" && pwd)
here=$(cd "$(dirname "$0")/../.." && pwd)
[ "$(id -u)" -eq 0 ] || { echo "check.sh: needs root" >&2; exit 1; }

work=$(mktemp -d)
root=${ROOT:-$work/root}
coordinator=
agent=
clean() {
    [ -z "$agent" ] || kill "$agent" 2>/dev/null || true
    [ -z "$coordinator" ] || kill "$coordinator" 2>/dev/null || true
    wait
    if mountpoint -q "$root/proc"; then umount "$root/proc"; fi
    rm -rf --one-file-system "$work"
}
trap clean EXIT
step() { printf '\n== %s\n' "$*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
inside() { chroot "$root" /usr/bin/env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"; }
# Tries for 20 s.
eventually() {
    for _ in $(seq 100); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.2
    done
    fail "in vain: $*"
}

if [ ! -x "$root/usr/bin/dpkg" ]; then
    step "a Debian"
    debootstrap --variant=minbase "$(. /etc/os-release; echo "$VERSION_CODENAME")" "$root" >"$work/debootstrap.log" ||
        { tail -5 "$work/debootstrap.log" >&2; fail "debootstrap"; }
fi
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
inside find /etc /usr /var/lib -xdev | sort >"$work/before"

step "install"
cp "$package" "$root/tmp/signalbox-agent.deb"
inside apt-get update -qq
inside apt-get install -y -q /tmp/signalbox-agent.deb
inside id signalbox-agent
inside signalbox-agent --version
for file in usr/share/man/man1/signalbox-agent.1.gz usr/share/bash-completion/completions/signalbox-agent \
    etc/signalbox/agent.toml; do
    [ -e "$root/$file" ] || fail "$file is not there"
done
unit=$(find "$root/lib/systemd/system/" "$root/usr/lib/systemd/system/" -name signalbox-agent.service | head -1)
[ -n "$unit" ] || fail "no unit"
# From 0 (nothing that an intruder could use) to 100.
if command -v systemd-analyze >/dev/null; then
    systemd-analyze security --offline=true --threshold=20 --no-pager "$unit" >"$work/security" 2>&1 ||
        { grep -E '✗|Overall' "$work/security"; fail "the unit gives more rights than it need"; }
fi
inside dpkg-query -W -f '${Conffiles}\n' signalbox-agent | grep -q /etc/signalbox/agent.toml || fail "no conffile"
[ ! -e "$root/etc/systemd/system/multi-user.target.wants/signalbox-agent.service" ] || fail "it is enabled"
[ "$(stat -c %a "$root/var/lib/signalbox/spool")" = 750 ] || fail "the spool's folder is open to others"

step "a coordinator on loopback"
port=$((20000 + $$ % 20000))
authority="$programs/certs --dir $work/authority"
$authority init >/dev/null
$authority coordinator coordinator --ip 127.0.0.1 --out "$work/coordinator" >/dev/null
cat >"$work/coordinator/coordinator.toml" <<CONFIG
trust_domain = "signalbox.internal"
[store]
path = "store"
[ingest]
listen = "127.0.0.1:$port"
certificate = "certificate.pem"
key = "key.pem"
roots = "root.pem"
[authority]
certificate = "$work/authority/intermediate.pem"
key = "$work/authority/intermediate.key"
addresses = ["127.0.0.1:$port"]
[api]
listen = "127.0.0.1:$((port + 1))"
[metrics]
listen = "127.0.0.1:$((port + 2))"
[log]
level = "warn"
CONFIG
"$programs/signalbox-coordinator" run --config "$work/coordinator/coordinator.toml" &
coordinator=$!

step "configure: one file edited, one command"
sed -i -e 's/^# from = "end"/from = "start"/' "$root/etc/signalbox/agent.toml"
eventually [ -s "$work/coordinator/store/admin.token" ]
signalbox=("$programs/signalbox" --coordinator "https://127.0.0.1:$((port + 1))"
    --root "$work/coordinator/root.pem" --token-file "$work/coordinator/store/admin.token" --json)
eventually "${signalbox[@]}" tenant set acme --display-name ACME
token=$("${signalbox[@]}" token create --tenant acme | grep -o 'sbjoin1_[A-Za-z0-9_-]*')
inside signalbox-agent join "$token"
[ "$(stat -c '%a %U' "$root/var/lib/signalbox/identity/key.pem" | cut -d' ' -f1)" = 600 ] || fail "the key is open to others"
mkdir -p "$root/var/log/suricata"
chgrp 4 "$root/var/log/suricata" # adm
chmod 750 "$root/var/log/suricata"
eve=$root/var/log/suricata/eve.json
head -n 100 "$here/tests/recordings/acme/eve.json" >"$eve"
chgrp 4 "$eve"
chmod 640 "$eve"
records=$(wc -l <"$eve")
# Becomes the agent's user, and then the program that follows; no shell stays between.
as_agent=(chroot "$root" setpriv --reuid signalbox-agent --regid signalbox-agent --init-groups)
"${as_agent[@]}" signalbox-agent check
inside signalbox-agent status && fail "it says that it runs" || [ $? -eq 2 ] || fail "status of what does not run is not 2"

# Starts the agent and waits until all that the detector has written is acknowledged.
start() {
    "${as_agent[@]}" signalbox-agent run &
    agent=$!
    eventually inside signalbox-agent status
    eventually all_acked
}
all_acked() {
    inside signalbox-agent status --json >"$work/status.json" || return 1
    grep -q '"last": [1-9]' "$work/status.json" || return 1
    ! grep -q '"waiting": [1-9]' "$work/status.json"
}
stop() {
    kill -TERM "$agent"
    local code=0
    wait "$agent" || code=$?
    agent=
    [ "$code" -eq 0 ] || fail "it ended with $code"
}

step "run"
start
inside signalbox-agent status
grep -q "\"records\": $records," "$work/status.json" || fail "not all $records records were read"
stop

step "install again (an update): what was read is not read again"
inside apt-get install -y -q --reinstall /tmp/signalbox-agent.deb
grep -q '^from = "start"' "$root/etc/signalbox/agent.toml" || fail "the configuration was written over"
start
grep -q '"records": 0,' "$work/status.json" || fail "records were read again"
stop

step "remove"
inside apt-get remove -y -q signalbox-agent
[ ! -e "$root/usr/bin/signalbox-agent" ] || fail "the program is still there"
[ -e "$root/etc/signalbox/agent.toml" ] || fail "a removal took the configuration"
[ -n "$(ls "$root/var/lib/signalbox/spool")" ] || fail "a removal took the spool"

step "purge"
inside apt-get purge -y -q signalbox-agent
[ ! -e "$root/var/lib/signalbox" ] || fail "a purge left the state"
[ ! -e "$root/etc/signalbox/agent.toml" ] || fail "a purge left the configuration"
inside find /etc /usr /var/lib -xdev | sort >"$work/after"
echo "left, besides what dpkg and apt note of themselves:"
comm -13 "$work/before" "$work/after" | grep -v -E '^/var/lib/(dpkg|apt)/|^/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$' |
    tee "$work/left" || true
[ ! -s "$work/left" ] || fail "something is left"
step "the package installs, runs, updates, goes, and leaves what it says"
