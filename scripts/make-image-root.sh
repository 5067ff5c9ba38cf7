#!/bin/bash
# Makes the image's root file system without a container engine, from the lists that the Dockerfile uses, and tries it.
# As root: the packages' own scripts run in a chroot.
#
#   scripts/make-image-root.sh      writes .build/image/perssd-root.tar, and .packages beside it: what is in it
#
# DEBIAN_MIRROR     where packages come from (http://deb.debian.org)
# DEBIAN_SNAPSHOT   a moment, as 20261101T000000Z: packages as they were then, from snapshot.debian.org
# SOURCE_DATE_EPOCH no file in the tar is newer than this; the time of the last commit, if it is not set
# JOBS              how many compilers run at once
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    echo "make-image-root: $*" >&2
    exit 1
}

if [[ -n ${DEBIAN_SNAPSHOT:-} && ! $DEBIAN_SNAPSHOT =~ ^[0-9]{8}T[0-9]{6}Z$ ]]; then
    fail "DEBIAN_SNAPSHOT is '$DEBIAN_SNAPSHOT', and not a moment, as 20261101T000000Z"
fi
((EUID == 0)) || fail "run this as root: it runs the scripts of Debian's packages in a chroot"
command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing: apt-get install mmdebstrap"
[[ -f /usr/share/keyrings/debian-archive-keyring.gpg ]] ||
    fail "Debian's keys are missing: apt-get install debian-archive-keyring"

mirror=${DEBIAN_MIRROR:-http://deb.debian.org}
options=()
if [[ -n ${DEBIAN_SNAPSHOT:-} ]]; then
    main="http://snapshot.debian.org/archive/debian/$DEBIAN_SNAPSHOT"
    security="http://snapshot.debian.org/archive/debian-security/$DEBIAN_SNAPSHOT"
    # Lists of then are out of date by now.
    options+=(--aptopt='Acquire::Check-Valid-Until "false"')
else
    main=$mirror/debian
    security=$mirror/debian-security
fi
if [[ -z ${SOURCE_DATE_EPOCH:-} ]]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null) || fail "this is no git work tree: set SOURCE_DATE_EPOCH"
fi
export SOURCE_DATE_EPOCH

output=$PWD/.build/image
lists=$PWD/deploy/image
scripts/build-image-programs.sh "$output/programs"

packages=$(sed 's/#.*//' "$lists/packages.txt" | xargs | tr ' ' ,)
# As Debian's own images are: /bin is a link from the beginning. What makes it one afterwards would bring Perl along.
# Whoever runs a container gives it its /dev; an image with device nodes cannot be unpacked without root.
# Hooks get the root's path as "$1", which their own shell has to expand.
# shellcheck disable=SC2016
mmdebstrap --mode=root --format=tar --skip=output/dev --variant=minbase --architectures="$(dpkg --print-architecture)" \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --include="usr-is-merged,$packages" "${options[@]}" \
    --customize-hook="mkdir \"\$1/tmp/image\" && cp '$lists/left-out.txt' '$lists/finish-root.sh' \"\$1/tmp/image\"" \
    --customize-hook='chroot "$1" /tmp/image/finish-root.sh' \
    --customize-hook='rm -rf "$1/tmp/image" "$1/etc/resolv.conf" "$1/etc/hostname"' \
    --customize-hook="install -o root -g root -m 755 '$output'/programs/perssd* \"\$1/usr/bin\"" \
    --customize-hook="dpkg-query --admindir=\"\$1/var/lib/dpkg\" -W > '$output/perssd-root.packages'" \
    bookworm "$output/perssd-root.tar.new" \
    "deb $main bookworm main" "deb $main bookworm-updates main" "deb $security bookworm-security main"
# The directory itself is missing then, too, and a container whose root is read-only needs it.
empty=$(mktemp -d)
mkdir -m 755 "$empty/dev"
tar --append --file "$output/perssd-root.tar.new" --directory "$empty" --owner=0:0 --group=0:0 --mtime="@$SOURCE_DATE_EPOCH" ./dev
rm -r "$empty"

scripts/check-image-root.sh "$output/perssd-root.tar.new"
mv "$output/perssd-root.tar.new" "$output/perssd-root.tar"
echo "made $output/perssd-root.tar"
echo "figure image_root_size $(($(stat -c %s "$output/perssd-root.tar") >> 20)) MiB"
