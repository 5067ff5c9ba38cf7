#!/bin/sh
# Writes the C and Swift code of the CSI protocol from proto/csi.proto:
#   Sources/CCSI                                       C, by protoc-c
#   Sources/CSI/Generated and Tests/CSITests/Generated Swift, by proto/generator
# With --check nothing is written: fails, naming the files, where what is checked in is not what would be written.
# Needs Debian's protobuf-compiler, protobuf-c-compiler and libprotobuf-dev, and .venv with Python's protobuf.
set -eu

fail() {
    printf 'generate-protocol: %s\n' "$*" >&2
    exit 1
}

root=$(cd "$(dirname "$0")/.." && pwd)
case "$*" in
    "" | --check) ;;
    *) fail "unknown arguments: $* (usage: scripts/generate-protocol.sh [--check])" ;;
esac
for tool in protoc protoc-c; do
    command -v "$tool" >/dev/null ||
        fail "$tool is missing: apt-get install protobuf-compiler protobuf-c-compiler libprotobuf-dev"
done
python="$root/.venv/bin/python"
"$python" -c 'import google.protobuf' 2>/dev/null ||
    fail "$python with the package protobuf is missing: python3 -m venv .venv && .venv/bin/pip install protobuf"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/Sources/CCSI/include/google/protobuf" "$work/Sources/CCSI/google/protobuf" \
    "$work/Sources/CSI/Generated" "$work/Tests/CSITests/Generated" "$work/c"

protoc -I "$root/proto" --include_imports --include_source_info \
    --descriptor_set_out="$work/descriptors" csi.proto
PYTHONDONTWRITEBYTECODE=1 "$python" "$root/proto/generator" \
    "$work/descriptors" "$work/Sources/CSI/Generated" "$work/Tests/CSITests/Generated" "$work/c-descriptors"
protoc-c --descriptor_set_in="$work/c-descriptors" --c_out="$work/c" \
    csi.proto google/protobuf/timestamp.proto google/protobuf/wrappers.proto
for file in csi google/protobuf/timestamp google/protobuf/wrappers; do
    mv "$work/c/$file.pb-c.c" "$work/Sources/CCSI/$file.pb-c.c"
    mv "$work/c/$file.pb-c.h" "$work/Sources/CCSI/include/$file.pb-c.h"
done

# What is generated is all there is in these places, but for the hand-written module map.
generated="Sources/CCSI Sources/CSI/Generated Tests/CSITests/Generated"
if [ "${1:-}" = --check ]; then
    stale=""
    for directory in $generated; do
        changes=$(cd "$work" && diff -rq -x module.modulemap "$directory" "$root/$directory") ||
            stale="$stale$changes
"
    done
    [ -z "$stale" ] ||
        fail "what is checked in is not what proto/csi.proto gives; run scripts/generate-protocol.sh and commit:
$stale"
    exit 0
fi
for directory in $generated; do
    mkdir -p "$root/$directory"
    find "$root/$directory" -type f ! -name module.modulemap -delete
    cp -R "$work/$directory/." "$root/$directory"
    find "$root/$directory" -type d -empty -delete
done
