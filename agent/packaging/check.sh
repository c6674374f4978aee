#!/bin/bash
# Installs the agent's package in a Debian of its own, configures it as a customer would, lets it run against a
# coordinator on loopback, and looks at what an update, a removal and a purge leave: once in a system that systemd has
# booted, where there is systemd-nspawn, and once without systemd.
#
# usage: check.sh PACKAGE.deb FOLDER-OF-BUILT-PROGRAMS       as root; needs debootstrap, and systemd-container
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
container=
clean() {
    local process
    for process in $agent $container $coordinator; do kill "$process" 2>/dev/null || true; done
    wait
    if mountpoint -q "$root/proc"; then umount "$root/proc"; fi
    rm -rf --one-file-system "$work"
}
trap clean EXIT
step() { printf '\n== %s\n' "$*"; }
fail() {
    echo "FAILED: $*" >&2
    # What the agent said last.
    [ ! -s "$work/status.json" ] || cat "$work/status.json" >&2
    [ -z "$container" ] || inside journalctl -u signalbox-agent --no-pager | tail -20 >&2
    exit 1
}
environment=(DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
# Runs a program in that Debian, and in what systemd has booted if it has.
inside() {
    if [ -n "$container" ]; then
        nsenter --target "$leader" --mount --uts --ipc --pid --cgroup --root --wd env "${environment[@]}" "$@"
    else
        chroot "$root" /usr/bin/env "${environment[@]}" "$@"
    fi
}
# Tries for 30 s.
eventually() {
    for _ in $(seq 150); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.2
    done
    fail "in vain: $*"
}

if [ ! -x "$root/usr/bin/dpkg" ]; then
    step "a Debian"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus "$(. /etc/os-release; echo "$VERSION_CODENAME")" "$root" >"$work/debootstrap.log" ||
        { tail -5 "$work/debootstrap.log" >&2; fail "debootstrap"; }
fi

# Installs, and looks at what is there.
install_package() {
    step "install"
    cp "$package" "$root/srv/signalbox-agent.deb"
    inside apt-get update -qq
    inside apt-get install -y -q /srv/signalbox-agent.deb
    inside id signalbox-agent
    inside signalbox-agent --version
    local file unit
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
}

# Edits the one file, writes what a detector would, and joins with a new token.
configure_and_join() {
    step "configure: one file edited, one command"
    sed -i -e 's/^# from = "end"/from = "start"/' "$root/etc/signalbox/agent.toml"
    mkdir -p "$root/var/log/suricata"
    chgrp 4 "$root/var/log/suricata" # adm
    chmod 750 "$root/var/log/suricata"
    eve=$root/var/log/suricata/eve.json
    head -n 100 "$recorded" >"$eve"
    chgrp 4 "$eve"
    chmod 640 "$eve"
    local token
    token=$("${signalbox[@]}" token create --tenant acme | grep -o 'sbjoin1_[A-Za-z0-9_-]*')
    inside signalbox-agent join "$token"
    [ "$(stat -c %a "$root/var/lib/signalbox/identity/key.pem")" = 600 ] || fail "the key is open to others"
}

all_acked() {
    inside signalbox-agent status --json >"$work/status.json" || return 1
    grep -q '"last": [1-9]' "$work/status.json" || return 1
    ! grep -q '"waiting": [1-9]' "$work/status.json"
}
# Tells whether a source has read so many records since the agent started, the first source unless another is named.
has_read() {
    all_acked && python3 - "$work/status.json" "$1" "${2:-0}" <<'PYTHON'
import json, sys
sources = json.load(open(sys.argv[1]))["sources"]
sys.exit(sources[int(sys.argv[3])]["records"] != int(sys.argv[2]))
PYTHON
}

# Tells whether the source of this name has read something since the agent started.
reads_from() {
    all_acked && python3 - "$work/status.json" "$1" <<'PYTHON'
import json, sys
sources = json.load(open(sys.argv[1]))["sources"]
sys.exit(not any(source["name"] == sys.argv[2] and source["records"] > 0 for source in sources))
PYTHON
}
# Tells whether attribution came to this outcome since the agent started.
attributed() {
    inside signalbox-agent status --json >"$work/status.json" || return 1
    python3 -c 'import json, sys; sys.exit(json.load(open(sys.argv[1]))["attribution"][sys.argv[2]] == 0)' \
        "$work/status.json" "$1"
}
# Writes an alert about the connection that nobody's process has to the coordinator.
alert_about_connection() {
    python3 - "$((port + 1))" >>"$eve" <<'PYTHON'
import datetime, json, pwd, sys
to, owner = int(sys.argv[1]), pwd.getpwnam("nobody").pw_uid
sockets = [line.split() for line in open("/proc/net/tcp").readlines()[1:]]
ports = [int(local.split(":")[1], 16) for _, local, remote, *rest in sockets
         if int(remote.split(":")[1], 16) == to and int(rest[4]) == owner]
now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f+0000")
alert = {"signature_id": 77, "signature": "a connection of this host", "severity": 2}
print(json.dumps({"timestamp": now, "event_type": "alert", "src_ip": "127.0.0.1", "src_port": ports[0],
                  "dest_ip": "127.0.0.1", "dest_port": to, "proto": "TCP", "alert": alert}))
PYTHON
}
names_process() { "${signalbox[@]}" search --tenant acme --from 10m >"$work/found.json" && grep -q "$1" "$work/found.json"; }

# Installs the program without the package, in the system that is booted, has it join and run, and takes it away again.
without_package() {
    step "without the package: install-service, one join, and it runs"
    dpkg-deb -x "$package" "$work/unpacked"
    install -D -m 755 "$work/unpacked/usr/bin/signalbox-agent" "$root/usr/local/bin/signalbox-agent"
    inside signalbox-agent install-service --dry-run >"$work/plan"
    grep -q /etc/systemd/system/signalbox-agent.service "$work/plan" ||
        fail "the plan does not name the unit"
    inside signalbox-agent install-service
    inside systemd-sysusers
    inside systemctl daemon-reload
    inside install -d -m 700 -o signalbox-agent /var/lib/signalbox/identity
    configure_and_join
    inside systemctl enable --now signalbox-agent
    eventually is_up
    eventually has_read 100
    [ "$(property User)" = signalbox-agent ] || fail "it has another user"
    inside systemctl disable --now signalbox-agent
    inside signalbox-agent uninstall-service
    [ ! -e "$root/etc/systemd/system/signalbox-agent.service" ] || fail "the unit is left"
    inside systemctl daemon-reload
    rm -rf "$root/usr/local/bin/signalbox-agent" "$root/etc/signalbox" "$root/var/lib/signalbox" \
        "$root/etc/sysusers.d/signalbox-agent.conf" "$root/var/log/suricata"
}

remove_and_purge() {
    step "remove"
    inside apt-get remove -y -q signalbox-agent
    [ ! -e "$root/usr/bin/signalbox-agent" ] || fail "the program is still there"
    [ -e "$root/etc/signalbox/agent.toml" ] || fail "a removal took the configuration"
    [ -n "$(ls "$root/var/lib/signalbox/spool")" ] || fail "a removal took the spool"

    step "purge"
    inside apt-get purge -y -q signalbox-agent
    [ ! -e "$root/var/lib/signalbox" ] || fail "a purge left the state"
    [ ! -e "$root/etc/signalbox/agent.toml" ] || fail "a purge left the configuration"
    listing >"$work/after"
    echo "left, besides what dpkg, apt and the system note of themselves:"
    comm -13 "$work/before" "$work/after" |
        grep -v -E '^/var/lib/(dpkg|apt|systemd)/|^/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$' |
        tee "$work/left" || true
    [ ! -s "$work/left" ] || fail "something is left"
    rm -rf "$root/var/log/suricata"
}
listing() { chroot "$root" find /etc /usr /var/lib -xdev | sort; }

# Boots that Debian.
boot() {
    step "boot"
    systemd-nspawn --register=no --keep-unit --boot --directory "$root" --console=pipe >"$work/console" 2>&1 </dev/null &
    container=$!
    leader=
    for _ in $(seq 50); do
        leader=$(pgrep -P "$container" | head -1) && [ "$(ps -o comm= -p "$leader")" = systemd ] && break
        sleep 0.2
    done
    [ -n "$leader" ] || { cat "$work/console"; fail "it does not boot"; }
    eventually inside systemctl is-active --quiet multi-user.target
}
shut_down() {
    inside systemctl poweroff
    wait "$container" || true
    container=
}
is_up() { inside systemctl is-active --quiet signalbox-agent; }
property() { inside systemctl show --value -p "$1" signalbox-agent; }
is_property() { [ "$(property "$1")" = "$2" ]; }

# Makes another package of this one that differs in its version alone.
package_of_version() {
    dpkg-deb -R "$package" "$work/repacked"
    sed -i "s/^Version: .*/Version: $1/" "$work/repacked/DEBIAN/control"
    dpkg-deb --root-owner-group -b "$work/repacked" "$root/srv/other.deb" >/dev/null
    rm -r "$work/repacked"
}

under_systemd() {
    listing >"$work/before"
    boot
    install_package
    is_up && fail "it runs before anybody has configured it"
    configure_and_join

    step "joining has started the service"
    is_up || fail "the service does not run"
    eventually has_read 100
    inside systemctl --no-pager status signalbox-agent
    is_property StatusText "" && fail "it does not say how it is"
    [ "$(property User)" = signalbox-agent ] || fail "it has another user"
    inside runuser -u signalbox-agent -- signalbox-agent check
    inside systemctl is-enabled --quiet signalbox-agent || fail "it does not come back after a restart of the host"

    step "the journal as a source, of a real journald"
    cat >>"$root/etc/signalbox/agent.toml" <<'SOURCE'

[[source]]
name = "journal"
kind = "journald"
input = "journald"
match = ["SYSLOG_IDENTIFIER=ids"]
from = "start"
SOURCE
    echo "port scan from 10.0.0.7" | inside systemd-cat -t ids -p alert
    echo "not for us" | inside systemd-cat -t other -p alert
    inside systemctl restart signalbox-agent
    eventually has_read 1 1
    echo "port scan from 10.0.0.8" | inside systemd-cat -t ids -p alert
    eventually has_read 2 1
    inside systemctl restart signalbox-agent
    echo "port scan from 10.0.0.9" | inside systemd-cat -t ids -p alert
    eventually has_read 1 1

    step "the host restarts: it comes back, and reads what was written before"
    inside systemctl stop signalbox-agent
    echo "port scan from 10.0.0.10" | inside systemd-cat -t ids -p alert
    shut_down
    boot
    eventually is_up
    echo "port scan from 10.0.0.11" | inside systemd-cat -t ids -p alert
    eventually has_read 2 1

    step "killed: it is started again and goes on where it was"
    inside systemctl kill --signal=KILL signalbox-agent
    sed -n 101,120p "$recorded" >>"$eve"
    eventually is_property NRestarts 1
    eventually has_read 20
    step "stuck: the watchdog ends it"
    inside mkdir -p /run/systemd/system/signalbox-agent.service.d
    printf '[Service]\nWatchdogSec=3s\n' |
        inside tee /run/systemd/system/signalbox-agent.service.d/soon.conf >/dev/null
    inside systemctl daemon-reload
    inside systemctl restart signalbox-agent
    sleep 7
    is_property NRestarts 0 || fail "the watchdog ends what goes on"
    inside systemctl kill --signal=STOP signalbox-agent
    eventually is_property NRestarts 1
    eventually has_read 0
    inside rm -r /run/systemd/system/signalbox-agent.service.d
    inside systemctl daemon-reload

    local events=$here/../shared/data/sigma/sigmahq-regression.dev.tar.xz
    if [ -e "$events" ]; then
        step "an event log of Windows, which a child of the agent reads within the unit's bounds"
        tar -tf "$events" >"$work/events"
        mkdir -p "$root/srv/event-logs"
        tar -xOf "$events" "$(grep -m 1 '\.evtx$' "$work/events")" >"$root/srv/event-logs/one.evtx"
        cat >>"$root/etc/signalbox/agent.toml" <<'SOURCE'

[[source]]
name = "event-logs"
kind = "windows_event"
path = "/srv/event-logs/*.evtx"
from = "start"
SOURCE
        inside systemctl restart signalbox-agent
        eventually reads_from event-logs
    else
        step "no event log of Windows is at hand: its source is not tried within the unit"
    fi

    step "which process of another user has a connection: told with attribution.conf, and not without"
    inside systemd-run --quiet --unit=other --uid=nobody \
        bash -c "exec 3<>/dev/tcp/127.0.0.1/$((port + 1)); exec sleep 300"
    eventually alert_about_connection
    eventually attributed permission
    attributed found && fail "it sees other users' processes without the right"
    inside mkdir -p /etc/systemd/system/signalbox-agent.service.d
    inside cp /usr/share/doc/signalbox-agent/attribution.conf /etc/systemd/system/signalbox-agent.service.d/
    inside systemctl daemon-reload
    inside systemctl restart signalbox-agent
    eventually is_up
    alert_about_connection
    eventually attributed found
    eventually names_process /sleep
    inside systemctl stop other
    inside rm -r /etc/systemd/system/signalbox-agent.service.d
    inside systemctl daemon-reload
    inside systemctl restart signalbox-agent

    step "a later version and back: what was read is not read again, and it runs on"
    package_of_version 99.0.0
    inside apt-get install -y -q /srv/other.deb
    is_up || fail "an update stopped it"
    sed -n 121,125p "$recorded" >>"$eve"
    eventually has_read 5
    inside apt-get install -y -q --allow-downgrades /srv/signalbox-agent.deb
    is_up || fail "going back stopped it"
    sed -n 126,130p "$recorded" >>"$eve"
    eventually has_read 5
    grep -q '^from = "start"' "$root/etc/signalbox/agent.toml" || fail "the configuration was written over"

    step "a configuration that is wrong ends it for good, and says where"
    echo 'nonsense = 1' >>"$root/etc/signalbox/agent.toml"
    inside systemctl restart signalbox-agent && fail "it starts with nonsense"
    eventually is_property SubState failed
    inside journalctl -u signalbox-agent --no-pager | grep -q "nonsense" || fail "the journal does not name it"
    sed -i '$d' "$root/etc/signalbox/agent.toml"
    inside systemctl start signalbox-agent

    step "stop"
    inside systemctl stop signalbox-agent
    is_property Result success || fail "it stopped with $(property Result)"
    inside systemctl start signalbox-agent
    remove_and_purge
    pgrep --ns "$leader" --nslist pid -x signalbox-agent >/dev/null && fail "it runs after its removal"
    without_package
    shut_down
}

# Starts the agent and waits until all that the detector has written is acknowledged.
start() {
    "${as_agent[@]}" signalbox-agent run &
    agent=$!
    eventually inside signalbox-agent status
    eventually all_acked
}
stop() {
    kill -TERM "$agent"
    local code=0
    wait "$agent" || code=$?
    agent=
    [ "$code" -eq 0 ] || fail "it ended with $code"
}

without_systemd() {
    mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
    listing >"$work/before"
    install_package
    configure_and_join
    # Becomes the agent's user, and then the program that follows; no shell stays between.
    as_agent=(chroot "$root" setpriv --reuid signalbox-agent --regid signalbox-agent --init-groups)
    "${as_agent[@]}" signalbox-agent check
    inside signalbox-agent status && fail "it says that it runs" || [ $? -eq 2 ] ||
        fail "status of what does not run is not 2"

    step "run"
    start
    inside signalbox-agent status
    has_read 100 || fail "not all 100 records were read"
    stop

    step "install again (an update): what was read is not read again"
    inside apt-get install -y -q --reinstall /srv/signalbox-agent.deb
    grep -q '^from = "start"' "$root/etc/signalbox/agent.toml" || fail "the configuration was written over"
    start
    has_read 0 || fail "records were read again"
    stop
    remove_and_purge
}

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

eventually [ -s "$work/coordinator/store/admin.token" ]
signalbox=("$programs/signalbox" --coordinator "https://127.0.0.1:$((port + 1))"
    --root "$work/coordinator/root.pem" --token-file "$work/coordinator/store/admin.token" --json)
eventually "${signalbox[@]}" tenant set acme --display-name ACME
recorded=$here/tests/recordings/acme/eve.json

if command -v systemd-nspawn >/dev/null; then
    under_systemd
else
    step "systemd-nspawn is not there (apt install systemd-container): the service is not tried"
fi
without_systemd
step "the package installs, runs, updates, goes, and leaves what it says"
