#!/bin/sh
# Puts the tiles of one parameter together: mosaic.sh PARAMETER RESULT GRID PARAMETERS...
# PARAMETER is slope, aspect or hillshade. RESULT/PARAMETER.tif is made of the tiles in PARAMETERS/PARAMETER of all directories.
set -eu
[ $# -ge 4 ] || { sed -n 2,3p "$0" >&2; exit 2; }
parameter=$1 result=$2 grid=$3
shift 3

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for directory in "$@"; do
    find "$directory/$parameter" -name 'tile-*.tif'
done | sort > "$scratch/tiles"
number=$(wc -l < "$scratch/tiles")
[ "$number" = $((grid * grid)) ] || {
    echo "mosaic.sh: there are $number tiles of $parameter in place of $((grid * grid))" >&2
    exit 1
}
gdalbuildvrt -q -input_file_list "$scratch/tiles" "$scratch/mosaic.vrt"
gdal_translate -q "$scratch/mosaic.vrt" "$result/$parameter.tif"
