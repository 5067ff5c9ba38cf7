#!/bin/sh
# Computes slope, aspect and hillshade of some of the tiles: parameters.sh TILES PARAMETERS GRID WORKER WORKERS
# Of all tiles in the directory TILES, in their order, this is for WORKER, from 0, of WORKERS. The results are in
# PARAMETERS/slope, PARAMETERS/aspect and PARAMETERS/hillshade, without the tiles' margins.
set -eu
[ $# = 5 ] || { sed -n 2,4p "$0" >&2; exit 2; }
tiles=$1 parameters=$2 grid=$3 worker=$4 workers=$5
margin=8

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$parameters/slope" "$parameters/aspect" "$parameters/hillshade"

number=0
for tile in "$tiles"/tile-*.tif; do
    if [ $((number % workers)) = "$worker" ]; then
        row=$((number / grid)) column=$((number % grid))
        # There is no margin at the model's own edges.
        left=$margin above=$margin right=$margin below=$margin
        [ "$column" != 0 ] || left=0
        [ "$column" != $((grid - 1)) ] || right=0
        [ "$row" != 0 ] || above=0
        [ "$row" != $((grid - 1)) ] || below=0
        size=$(gdalinfo "$tile" | sed -n 's/^Size is \([0-9]*\), \([0-9]*\)/\1 \2/p')
        for parameter in slope aspect hillshade; do
            gdaldem "$parameter" -q -compute_edges "$tile" "$scratch/$parameter.tif"
            gdal_translate -q -srcwin "$left" "$above" $((${size% *} - left - right)) $((${size#* } - above - below)) \
                "$scratch/$parameter.tif" "$parameters/$parameter/$(basename "$tile")"
        done
    fi
    number=$((number + 1))
done
[ "$number" = $((grid * grid)) ] || {
    echo "parameters.sh: $tiles has $number tiles in place of $((grid * grid))" >&2
    exit 1
}
