#!/bin/bash
# Unpacks an image's root file system, and tries what is in it: programs start, libraries are found, nothing is there that was
# to be left out. As root.
#
#   scripts/check-image-root.sh TAR
set -euo pipefail
[[ $# == 1 || $# == 2 ]] || { echo "usage: check-image-root.sh TAR" >&2; exit 2; }
tar=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
lists=deploy/image

if [[ $# == 1 ]]; then
    # On a disk, and with a path that does not depend on where the work tree is.
    root=$(mktemp -d /var/tmp/perssd-image-XXXXXX)
    trap 'rm -rf --one-file-system "$root"' EXIT
    tar -xf "$tar" -C "$root" --numeric-owner
    # Once more, in a mount namespace that goes with whoever is in it, so that no end leaves a mount behind.
    unshare --mount --propagation private "$0" "$tar" "$root"
    exit
fi
root=$2
# Swift reads a program's arguments in /proc.
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"

failures=0
complain() {
    echo "check-image-root: $*" >&2
    failures=$((failures + 1))
}
# program, arguments...: runs it as a user who may do nothing, with what the image says and no more.
inside() { chroot --userspec=65532:65532 "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C "$@" 2>&1; }

# PerSSD's own programs.
version=$(sed -n 's/^public let version = "\(.*\)"$/\1/p' Sources/Settings/Version.swift)
for program in perssd perssd-controller perssd-node; do
    said=$(inside "/usr/bin/$program" --version) || true
    [[ $said == "$version" ]] || complain "$program --version says '$said', and not '$version'"
    inside "/usr/bin/$program" --help >/dev/null || complain "$program --help fails"
    libraries=$(inside ldd "/usr/bin/$program") || complain "ldd fails on $program: $libraries"
    missing=$(grep 'not found' <<<"$libraries") && complain "$program lacks $missing"
    runtime=$(grep -E 'lib(swift|Foundation|_Foundation|dispatch|BlocksRuntime)' <<<"$libraries") &&
        complain "$program needs a runtime that is not inside it: $runtime"
done

# What they run.
while read -r program package arguments; do
    # One word for each argument.
    # shellcheck disable=SC2086
    said=$(inside "$program" $arguments </dev/null) && status=0 || status=$?
    # Some end with 1 after they have said their version.
    ((status < 126)) && ! grep -q 'error while loading' <<<"$said" || complain "$program does not start ($status): $said"
    # A path in the list is that of the package, which may be older than the merger of /sbin and /usr/sbin.
    path=$(inside sh -c 'command -v "$1"' sh "$program") || continue
    owner=$(inside dpkg-query --search "$path" "${path#/usr}" | sed -n '/^dpkg-query: /d; s/^\([^: ]*\)[^ ]*: .*/\1/p' | sort -u) || true
    [[ $owner == "$package" ]] || complain "$program is of the package '$owner', and not of $package"
done < <(sed 's/#.*//; /^ *$/d' "$lists/programs.txt")

# What must not be there.
for package in $(sed 's/#.*//' "$lists/left-out.txt"); do
    ! inside dpkg-query -W -f '${db:Status-Status}' "$package" | grep -qx installed || complain "$package is still there"
done
privileged=$(find "$root" -xdev -type f -perm /6000)
[[ -z $privileged ]] || complain "these make root of whoever runs them: $privileged"
for place in tmp var/cache var/lib/apt; do
    left=$(find "$root/$place" -type f -size +0 2>/dev/null) || true
    [[ -z $left ]] || complain "left behind: $left"
done
for file in etc/hostname etc/resolv.conf; do
    # Container engines leave empty ones to mount on.
    [[ ! -s $root/$file ]] || complain "/$file is this machine's"
done

# What was left out must be missed by nobody.
lacking=
while IFS= read -r -d '' file; do
    inside ldd "${file#"$root"}" | grep -q 'not found' && lacking="$lacking ${file##*/}"
done < <(find "$root"/usr/bin "$root"/usr/sbin -type f -perm -100 -print0)
[[ -z $lacking ]] || complain "these lack a library:$lacking"

((failures == 0)) || { echo "check-image-root: $failures things are wrong with $tar" >&2; exit 1; }
echo "check-image-root: $tar is well"
