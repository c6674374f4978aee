#!/bin/sh
# Installs what a build needs and the machine lacks: a C++ compiler, and libclang with its headers (RocksDB's bindings
# are made by it). On Debian and Ubuntu it does so itself, as root or through sudo; elsewhere it says what to install.
# Silent and quick where nothing is missing.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)

say() { echo "install.sh: $*" >&2; }
die() { say "$@"; exit 1; }

# True if the library and the headers that belong to it are both there.
has_libclang() {
    if [ -n "${LIBCLANG_PATH:-}" ]; then return 0; fi
    for tools in /Library/Developer/CommandLineTools /Applications/Xcode.app/Contents/Developer; do
        if [ -d "$tools" ]; then return 0; fi
    done
    for include in /usr/lib/llvm-*/lib/clang/*/include /usr/lib/clang/*/include /usr/lib64/clang/*/include; do
        [ -f "$include/stddef.h" ] || continue
        for library in /usr/lib/llvm-*/lib /usr/lib /usr/lib64 /usr/lib64/llvm*/lib /usr/lib/*-linux-gnu*; do
            for file in "$library"/libclang.so* "$library"/libclang-[0-9]*.so*; do
                if [ -e "$file" ]; then return 0; fi
            done
        done
    done
    return 1
}

has_compiler() { command -v "${CXX:-c++}" >/dev/null 2>&1; }

# Prints the packages that bring libclang and its headers: the small ones where they exist, else the whole.
clang_packages() {
    version=$(apt-cache depends libclang-dev 2>/dev/null | sed -n 's/.*Depends: libclang-\([0-9]*\)-dev$/\1/p' | head -n 1)
    if [ -z "$version" ]; then
        version=$(apt-cache search --names-only '^libclang1-[0-9]+$' | sed 's/^libclang1-\([0-9]*\).*/\1/' | sort -n | tail -n 1)
    fi
    if [ -z "$version" ]; then
        echo libclang-dev
    elif apt-cache show "libclang1-$version" >/dev/null 2>&1; then
        echo "libclang1-$version libclang-common-$version-dev"
    else
        echo "libclang-$version-dev"
    fi
}

install_with_apt() {
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 || die "needs root to install packages; run once as root: $0"
        as_root=sudo
    fi
    say "reading the package lists"
    $as_root apt-get update -qq </dev/null >&2 || say "the package lists could not be renewed; trying with the old ones"
    packages=
    if ! has_compiler; then packages="g++"; fi
    if ! has_libclang; then packages="$packages $(clang_packages)"; fi
    say "installing $packages"
    # shellcheck disable=SC2086  # a list of words
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages </dev/null >&2 ||
        die "apt-get could not install: $packages"
}

# Rust: only checked, because people choose for themselves where their toolchain comes from.
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
found=$(cd "$root" && cargo --version 2>/dev/null | sed 's/^cargo \([0-9.]*\).*/\1/') || found=
if [ -z "$found" ]; then
    say "cargo is missing; install Rust $wanted or newer, open a new shell, and try again:"
    say "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c clippy,rustfmt"
    exit 1
fi
if [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
    die "cargo $found is too old; Rust $wanted or newer is needed: run 'rustup update', or see rustup.rs"
fi

if has_compiler && has_libclang; then exit 0; fi
if command -v apt-get >/dev/null 2>&1; then
    install_with_apt
else
    case $(uname -s) in
        Darwin) hint="xcode-select --install" ;;
        *) hint="your distribution's C++ compiler and libclang (Fedora: dnf install gcc-c++ clang-devel; Arch: pacman -S gcc clang; Alpine: apk add g++ clang-dev)" ;;
    esac
    has_compiler || say "a C++ compiler is missing"
    has_libclang || say "libclang is missing (it may also be named by LIBCLANG_PATH)"
    die "please install: $hint"
fi
has_compiler || die "there is still no C++ compiler; name one in CXX"
has_libclang || die "libclang is still not found; name its folder in LIBCLANG_PATH"
