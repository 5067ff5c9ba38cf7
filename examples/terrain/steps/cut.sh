#!/bin/sh
# Cuts an elevation model into tiles: cut.sh ELEVATION TILES GRID
# ELEVATION is a square GeoTIFF, TILES a directory, GRID the number of tiles in each direction. Each tile has a margin with pixels of its
# neighbours, as the parameters of a pixel are computed from those around it.
set -eu
[ $# = 3 ] || { sed -n 2,4p "$0" >&2; exit 2; }
elevation=$1 tiles=$2 grid=$3
margin=8

side=$(gdalinfo "$elevation" | sed -n 's/^Size is \([0-9]*\), .*/\1/p')
core=$((side / grid))
if [ $((core * grid)) != "$side" ] || [ "$core" -lt "$margin" ]; then
    echo "cut.sh: $side pixels cannot be cut into $grid tiles of one size, with $margin pixels or more" >&2
    exit 1
fi
# Where a tile's pixels begin, and where they end, with its margin.
first() { [ "$1" = 0 ] && echo 0 || echo $(($1 * core - margin)); }
end() { [ "$1" = $((grid - 1)) ] && echo "$side" || echo $((($1 + 1) * core + margin)); }

row=0
while [ "$row" -lt "$grid" ]; do
    column=0
    while [ "$column" -lt "$grid" ]; do
        x=$(first "$column") y=$(first "$row")
        gdal_translate -q -srcwin "$x" "$y" $(($(end "$column") - x)) $(($(end "$row") - y)) \
            "$elevation" "$(printf '%s/tile-%02d-%02d.tif' "$tiles" "$row" "$column")"
        column=$((column + 1))
    done
    row=$((row + 1))
done
