#!/usr/bin/env python3
"""Makes an elevation model of fractal noise: elevation.py FILE SIDE. The same every time.

Ten octaves of noise, each with twice the frequency and half the height of the one before, on SIDE x SIDE pixels of 30 m, as a GeoTIFF
of 32-bit floats in metres.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy

OCTAVES = 10
HEIGHT_M = 2000
PIXEL_M = 30
# Rows that are in memory at a time.
ROWS = 256


def between(grid, rows, columns):
    """The grid's values between its points, by linear interpolation in both directions."""
    top, left = rows.astype(int), columns.astype(int)
    down, right = (rows - top)[:, None], (columns - left)[None, :]
    upper = grid[top][:, left] * (1 - right) + grid[top][:, left + 1] * right
    lower = grid[top + 1][:, left] * (1 - right) + grid[top + 1][:, left + 1] * right
    return upper * (1 - down) + lower * down


def main(file, side):
    random = numpy.random.default_rng(17)
    grids = [random.random((2**octave + 2, 2**octave + 2), dtype=numpy.float32) for octave in range(1, OCTAVES + 1)]
    columns = numpy.arange(side, dtype=numpy.float32) / side
    with tempfile.TemporaryDirectory(dir=pathlib.Path(file).parent) as directory:
        raw = pathlib.Path(directory) / "elevation.bil"
        with open(raw, "wb") as pixels:
            for first in range(0, side, ROWS):
                rows = columns[first:first + ROWS]
                height = sum(
                    between(grid, rows * 2**octave, columns * 2**octave) * HEIGHT_M / 2**octave
                    for octave, grid in enumerate(grids, 1))
                pixels.write(height.astype("<f4").tobytes())
        raw.with_suffix(".hdr").write_text(
            f"ENVI\nsamples = {side}\nlines = {side}\nbands = 1\ndata type = 4\ninterleave = bsq\nbyte order = 0\n")
        subprocess.run(
            ["gdal_translate", "-q", "-of", "GTiff", "-a_srs", "EPSG:32633",
             "-a_ullr", "500000", "5000000", str(500000 + PIXEL_M * side), str(5000000 - PIXEL_M * side), raw, file],
            check=True)


if __name__ == "__main__":
    if len(sys.argv) != 3 or not sys.argv[2].isdecimal() or int(sys.argv[2]) < 16:
        raise SystemExit(__doc__)
    main(sys.argv[1], int(sys.argv[2]))
