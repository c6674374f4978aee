#!/bin/sh
# Builds RocksDB once per machine and prints the folder that holds the static library.
#
# RocksDB takes 10-20 minutes to compile on two cores, and cargo would compile it again for every profile, clone and
# `cargo clean`. This script compiles the very crate version that Cargo.lock names, once, into a cache folder outside
# the clone; the Makefile hands the folder to the build as ROCKSDB_LIB_DIR. The folder's name carries the crate's
# version, the C++ compiler's version and the machine type, so a change of any of them builds anew beside the old one.
#
#   coordinator/rocksdb.sh          build if need be, print the folder
#   SIGNALBOX_CACHE=/somewhere ...  another cache folder (default: $XDG_CACHE_HOME/signalbox or ~/.cache/signalbox)
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)

version=$(awk '/^name = "librocksdb-sys"$/ { getline; gsub(/version = |"/, ""); print; exit }' "$here/Cargo.lock")
[ -n "$version" ] || { echo "rocksdb.sh: Cargo.lock names no librocksdb-sys; run it from a whole clone" >&2; exit 1; }
compiler=$("${CXX:-c++}" --version | head -n 1 | tr -c 'A-Za-z0-9.\n' '-')
cache=${SIGNALBOX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/signalbox}
folder=$cache/rocksdb-$version-$compiler-$(uname -m)

mkdir -p "$folder"
# Two builds at once: the second waits for the first one's library, and compiles none of its own.
if [ ! -f "$folder/librocksdb.a" ] && command -v flock >/dev/null 2>&1; then
    exec 9>"$folder/lock"
    flock -n 9 || { echo "rocksdb.sh: waiting for another build of RocksDB in $folder" >&2; flock 9; }
fi
if [ ! -f "$folder/librocksdb.a" ]; then
    work=$folder/build
    mkdir -p "$work/src"
    : > "$work/src/lib.rs"
    cat > "$work/Cargo.toml" <<TOML
[package]
name = "rocksdb-once"
version = "0.0.0"
edition = "2021"

[dependencies]
librocksdb-sys = { version = "=${version%%+*}", default-features = false, features = ["bindgen-runtime", "static", "lz4"] }

[workspace]
TOML
    started=$(date +%s)
    echo "rocksdb.sh: compiling RocksDB ($version) once for this machine; 10-20 minutes on two cores" >&2
    unset ROCKSDB_LIB_DIR ROCKSDB_STATIC
    CARGO_TARGET_DIR=$work/target cargo build --release --manifest-path "$work/Cargo.toml" > "$folder/build.log" 2>&1 &
    builder=$!
    while kill -0 "$builder" 2>/dev/null; do
        sleep 1
        spent=$(($(date +%s) - started))
        if [ $((spent % 20)) -eq 0 ]; then
            objects=$(find "$work/target" -name '*.o' -path '*librocksdb*' 2>/dev/null | wc -l)
            echo "rocksdb.sh: ${spent}s, $objects of about 340 files compiled" >&2
        fi
    done
    wait "$builder" || { echo "rocksdb.sh: the build failed; the end of $folder/build.log says:" >&2; tail -n 20 "$folder/build.log" >&2; exit 1; }
    library=$(find "$work/target" -name librocksdb.a -path '*/out/*' | head -n 1)
    [ -n "$library" ] || { echo "rocksdb.sh: built, but no librocksdb.a under $work/target" >&2; exit 1; }
    cp "$library" "$folder/librocksdb.a.new"
    mv "$folder/librocksdb.a.new" "$folder/librocksdb.a"   # whole or not at all
    rm -rf "$work"
fi
printf '%s\n' "$folder"
