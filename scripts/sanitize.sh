#!/bin/sh
# Runs tests under a sanitizer: scripts/sanitize.sh address|thread [FILTER]
# FILTER as swift test takes it; the RPC module's tests by default. The build has its own directory and takes its time.
set -eu

usage() {
    echo "usage: scripts/sanitize.sh address|thread [FILTER]" >&2
    exit 2
}

[ $# -ge 1 ] && [ $# -le 2 ] || usage
sanitizer=$1
filter=${2:-RPCTests}
cd "$(dirname "$0")/.."

case $sanitizer in
address)
    set --
    export ASAN_OPTIONS="detect_leaks=1:${ASAN_OPTIONS:-}"
    export LSAN_OPTIONS="suppressions=$PWD/scripts/lsan-suppressions.txt:print_suppressions=0:${LSAN_OPTIONS:-}"
    ;;
thread)
    # See Sources/RPC/SanitizedMutex.swift.
    set -- -Xswiftc -DPERSSD_THREAD_SANITIZER
    export TSAN_OPTIONS="suppressions=$PWD/scripts/tsan-suppressions.txt:halt_on_error=0:${TSAN_OPTIONS:-}"
    ;;
*) usage ;;
esac

exec swift test --sanitize="$sanitizer" --scratch-path ".build-$sanitizer" --filter "$filter" --jobs 2 "$@"
