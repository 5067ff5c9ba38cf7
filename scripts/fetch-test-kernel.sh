#!/bin/bash
# Puts Debian's kernel, which the virtual nodes of `make test-nvme` boot, into .build/test-kernel: boot/ and lib/modules/.
# It is fetched with apt-get, unpacked and not installed. What is there is left alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

place=.build/test-kernel

fail() {
    echo "fetch-test-kernel: $*" >&2
    exit 1
}

[[ ! -e $place ]] || exit 0

mkdir -p .build
work=$(mktemp -d "$PWD/.build/test-kernel-XXXXXX")
trap 'rm -rf "$work"' EXIT

# The package that the one for "the newest kernel" depends on.
fetch() {
    local package
    package=$(apt-cache --no-all-versions show linux-image-amd64 | sed -n 's/^Depends: \(linux-image-[^ ]*\).*/\1/p') &&
        [[ -n $package ]] &&
        (cd "$work" && apt-get -q -o APT::Sandbox::User=root download "$package")
}

echo "Fetching Debian's kernel for the virtual nodes"
if ! fetch; then
    # The lists may be missing, or older than what the server still has.
    apt-get -q -o DPkg::Lock::Timeout=300 update || fail "apt-get cannot update its lists (as root?): see above"
    fetch || fail "the package that linux-image-amd64 depends on cannot be fetched: see above"
fi

# A virtual node has drives and a network card; two thirds of the modules are for hardware that it has not.
mkdir "$work/unpacked"
dpkg-deb --fsys-tarfile "$work"/*.deb | tar -x -C "$work/unpacked" \
    --exclude='*/drivers/gpu' --exclude='*/drivers/media' --exclude='*/drivers/infiniband' --exclude='*/sound' \
    --exclude='*/drivers/net/wireless' --exclude='*/drivers/net/ethernet' --exclude='*/drivers/iio' ./boot ./lib
depmod -b "$work/unpacked" "$(ls "$work/unpacked/lib/modules")"
mv "$work/unpacked" "$place"
