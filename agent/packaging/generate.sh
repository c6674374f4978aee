#!/bin/sh
# Makes the manual pages and the completions of the programs in FOLDER (a build's output) into FOLDER/package, where
# the package's description expects them.
set -eu
built=$(cd "$1" && pwd)
out=$built/package
rm -rf "$out"
mkdir "$out"
"$built/examples/man" "$out/man"
gzip -9n "$out"/man/*.1
"$built/signalbox-agent" completions bash >"$out/signalbox-agent.bash"
"$built/signalbox-agent" completions zsh >"$out/_signalbox-agent"
"$built/signalbox-agent" completions fish >"$out/signalbox-agent.fish"
