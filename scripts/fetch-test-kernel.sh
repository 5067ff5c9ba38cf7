#!/bin/bash
# Puts the kernels that the virtual nodes of `make test-nvme` boot into .build: Debian's own into test-kernel, and that of
# Debian 13 into newer-test-kernel; in each boot/ and lib/modules/. They are fetched with apt-get, which verifies them by
# Debian's signatures, unpacked and not installed. What is there is left alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

keys=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
    echo "fetch-test-kernel: $*" >&2
    exit 1
}

mkdir -p .build
work=$(mktemp -d "$PWD/.build/test-kernel-XXXXXX")
trap 'rm -rf "$work"' EXIT

# fetch DIRECTORY APT-OPTION...: the package that the one for "the newest kernel" depends on.
fetch() {
    local directory=$1 package
    shift
    package=$(apt-cache "$@" --no-all-versions show linux-image-amd64 |
        sed -n 's/^Depends: \(linux-image-[^ ]*\).*/\1/p') &&
        [[ -n $package ]] &&
        (cd "$directory" && apt-get -q -o APT::Sandbox::User=root "$@" download "$package")
}

# unpack DIRECTORY PLACE: what a virtual node needs of the package.
unpack() {
    # A node has drives and a network card; two thirds of the modules are for hardware that it has not.
    mkdir "$1/unpacked"
    dpkg-deb --fsys-tarfile "$1"/*.deb | tar -x -C "$1/unpacked" \
        --exclude='*/drivers/gpu' --exclude='*/drivers/media' --exclude='*/drivers/infiniband' --exclude='*/sound' \
        --exclude='*/drivers/net/wireless' --exclude='*/drivers/net/ethernet' --exclude='*/drivers/iio' \
        --exclude='./usr/share' --exclude='./etc'
    # Debian 13 has them below usr.
    if [[ -d $1/unpacked/usr/lib/modules ]]; then
        mv "$1/unpacked/usr/lib" "$1/unpacked/lib"
        rm -r "$1/unpacked/usr"
    fi
    depmod -b "$1/unpacked" "$(ls "$1/unpacked/lib/modules")"
    mv "$1/unpacked" "$2"
}

if [[ ! -e .build/test-kernel ]]; then
    echo "Fetching Debian's kernel for the virtual nodes"
    mkdir "$work/own"
    if ! fetch "$work/own"; then
        # The lists may be missing, or older than what the server still has.
        apt-get -q -o DPkg::Lock::Timeout=300 update || fail "apt-get cannot update its lists (as root?): see above"
        fetch "$work/own" || fail "the package that linux-image-amd64 depends on cannot be fetched: see above"
    fi
    unpack "$work/own" .build/test-kernel
fi

if [[ ! -e .build/newer-test-kernel ]]; then
    echo "Fetching Debian 13's kernel for the virtual nodes"
    mkdir -p "$work/newer" "$work/lists/partial"
    # Lists of its own, so that nothing of Debian 13 is ever installed on this machine.
    echo "deb [arch=amd64 signed-by=$keys] http://deb.debian.org/debian trixie main" > "$work/sources.list"
    options=(
        -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$work/lists"
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Get::List-Cleanup=0 -o Acquire::Languages=none
        -o APT::Sandbox::User=root
    )
    apt-get -q "${options[@]}" update || fail "apt-get cannot read the lists of Debian 13: see above"
    fetch "$work/newer" "${options[@]}" || fail "the kernel of Debian 13 cannot be fetched: see above"
    unpack "$work/newer" .build/newer-test-kernel
fi
