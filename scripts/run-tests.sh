#!/bin/sh
# Builds the package and runs all tests: those of the modules, those of the manifests, those that drive the processes from
# outside, and those that do so in virtual machines with NVMe drives.
# The last line is the sum: "N passed, M failed". Ends with a status other than 0 where anything failed, or did not run.
set -u
cd "$(dirname "$0")/.." || exit 1

jobs=${JOBS:-$(nproc)}
output=$(mktemp -d) || exit 1
trap 'rm -rf "$output"' EXIT

if [ "$(id -u)" != 0 ]; then
    echo "run-tests: the tests mount file systems and attach loop devices: run them as root" >&2
    exit 1
fi

swift build --build-tests --jobs "$jobs" || exit 1
# The programs that are driven from outside are those that are installed. In a virtual node they need a fifth less time than
# a debug build, too.
for product in perssd perssd-controller perssd-node pool-conformance; do
    swift build --configuration release --product "$product" --jobs "$jobs" || exit 1
done
PERSSD_BIN=$(swift build --configuration release --show-bin-path) || exit 1
export PERSSD_BIN

# shows what a command writes, keeps it in a file, and leaves its exit status in $status
recorded() {
    file=$1
    shift
    { "$@" 2>&1; echo $? > "$output/status"; } | tee "$file"
    status=$(cat "$output/status")
}

passed=0
failed=0
broken=0

# One module after the other: side by side, tests of times and of crashes would measure each other.
: > "$output/swift"
for directory in Tests/*Tests; do
    module=$(basename "$directory")
    recorded "$output/module" swift test --skip-build --filter "^$module\\."
    [ "$status" = 0 ] || broken=1
    grep -qE '^. Test run with [1-9]' "$output/module" || broken=1
    cat "$output/module" >> "$output/swift"
done
# One line a test; a test with arguments counts once.
passed=$((passed + $(grep -cE '^✔ Test .* passed after ' "$output/swift" || true)))
failed=$((failed + $(grep -cE '^✘ Test .* failed after ' "$output/swift" || true)))
# The summary of a run ("Test run with ...") looks the same, and is no test.
passed=$((passed - $(grep -cE '^✔ Test run with ' "$output/swift" || true)))
failed=$((failed - $(grep -cE '^✘ Test run with ' "$output/swift" || true)))

# name, command: runs tests that drive the programs from outside, and adds them to the sum.
run_python_tests() {
    name=$1
    shift
    recorded "$output/$name" "$@" --junitxml="$output/$name.xml"
    [ "$status" = 0 ] || broken=1
    counts=$(.venv/bin/python - "$output/$name.xml" << 'PYTHON'
import sys
import xml.etree.ElementTree as tree

suite = tree.parse(sys.argv[1]).getroot().find("testsuite")
count = {name: int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}
# One that was skipped has not shown anything: it counts as failed.
bad = count["failures"] + count["errors"] + count["skipped"]
print(count["tests"] - bad, bad)
PYTHON
    ) || { counts="0 1"; broken=1; }
    passed=$((passed + ${counts% *}))
    failed=$((failed + ${counts#* }))
}

run_python_tests Deploy .venv/bin/python -m pytest -q Tests/Deploy
run_python_tests BlackBox .venv/bin/python -m pytest -q Tests/BlackBox
run_python_tests VirtualNodes scripts/test-virtual-nodes.sh

if [ "$failed" != 0 ]; then
    # Once more, where it is seen: what failed is far above.
    echo "failed:"
    grep -hE -A 3 '^✘ Test .* recorded an issue|^✘ Test case .* recorded an issue' "$output/swift" | cut -c 1-1000
    grep -hE '^(FAILED|ERROR) ' "$output/Deploy" "$output/BlackBox" "$output/VirtualNodes" | cut -c 1-1000
fi
if [ "$broken" != 0 ] && [ "$failed" = 0 ]; then
    # A runner that died counts as one failure, so that the sum never looks clean.
    failed=1
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
