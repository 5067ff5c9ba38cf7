#!/bin/sh
# Builds the programs of the image, and puts them into a directory: the Swift runtime inside, the libraries of Debian outside.
#
#   scripts/build-image-programs.sh DIRECTORY
#
# JOBS says how many compilers run at once.
set -eu
[ $# = 1 ] || { echo "usage: build-image-programs.sh DIRECTORY" >&2; exit 2; }
mkdir -p "$1"
output=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

# Apart from other builds: with the runtime inside, everything is linked, and much is compiled, in another way.
scratch=.build/image/swift
build() {
    swift build --configuration release --static-swift-stdlib --scratch-path "$scratch" --jobs "${JOBS:-$(nproc)}" "$@"
}

# Foundation's reader of XML, inside, leaves libxml2 to the linker.
pkg-config --exists libxml-2.0 || { echo "build-image-programs: apt-get install libxml2-dev" >&2; exit 1; }

for program in perssd perssd-controller perssd-node; do
    build --product "$program"
    # What debuggers want is a third of a program. They find it in the build directory, by the program's build id.
    strip -o "$output/$program" "$(build --show-bin-path)/$program"
done
