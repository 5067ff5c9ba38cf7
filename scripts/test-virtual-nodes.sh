#!/bin/sh
# Runs the tests in virtual machines. Arguments: further ones for pytest.
set -eu
cd "$(dirname "$0")/.."

# Two pairs of nodes share the work: one leaves half of a machine with two cores idle, as mostly one of its nodes works.
exec .venv/bin/python -m pytest -q -n 2 --dist loadgroup --no-loadscope-reorder --durations=15 Tests/VirtualNodes "$@"
