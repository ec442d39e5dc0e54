"""One grid for two rasters."""

import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer

from headframe.core.errors import CrsError, GridMismatchError
from headframe.geo.alignment import CellAreas, align_grids, part_of, pixel_window
from headframe.geo.window import Window


def box(col=0.0, row=0.0, *, pixel=10.0, shape=(60, 90), crs="EPSG:32644", turn=0.0):
    """A grid whose corner lies (col, row) ten-metre pixels right of and below a fixed point."""
    corner = Affine.translation(339_000 + 10 * col, 2_697_000 - 10 * row)
    return GeoBox(shape, corner @ Affine.rotation(turn) @ Affine.scale(pixel, -pixel), crs)


@pytest.mark.parametrize(
    ("other", "parts", "same"),
    [
        (box(), 1, True),
        (box(7, -4), 1, True),
        (box(0.5, 0.5), 2, False),
        (box(0.33, 0), 3, False),
        (box(0.2, 0.8), 4, False),
        (box(0.13, 0), 2, False),
        (box(3, 3, pixel=30.0), 1, False),
        (box(3.5, 3, pixel=20.0), 2, False),
        (box(turn=30.0), 2, False),
        (box(20, 60, turn=90.0, shape=(80, 70)), 1, True),
    ],
)
def test_pixels_are_divided_where_the_lattices_do_not_meet(other, parts, same):
    first = box(shape=(100, 120))
    found = align_grids(first, other)
    assert (found.parts, found.same_lattice, found.basis) == (parts, same, 0)
    corners = ~first.affine * found.geobox.affine * (0, 0)
    assert corners == pytest.approx(np.round(corners), abs=1e-6)
    assert found.side_px[0] == pytest.approx(parts, rel=1e-3)


def test_the_common_grid_is_what_both_cover_on_the_finer_lattice():
    coarse, fine = box(20, 10, pixel=30.0, shape=(30, 40)), box(0.5, 0, shape=(50, 70))
    found = align_grids(coarse, fine)
    assert (found.basis, found.parts) == (1, 2)
    # fine pixels 19.5..69.5 to the right of its corner and 10..50 below it
    assert found.geobox.shape == ((50 - 10) * 2, (70 - 19) * 2)
    assert found.side_px == pytest.approx((6, 2), rel=1e-3)
    assert ~fine.affine * found.geobox.affine * (0, 0) == pytest.approx((19, 10))


def test_another_crs_covers_the_same_ground():
    first = box(shape=(100, 120))
    x, y = Transformer.from_crs("EPSG:32644", "EPSG:32645", always_xy=True).transform(
        *(first.affine * (60, 50))
    )
    wide = Affine.translation(x, y) @ Affine.scale(10, -10) @ Affine.translation(-100, -90)
    second = GeoBox((180, 200), wide, "EPSG:32645")
    found = align_grids(first, second)
    assert str(found.geobox.crs) == "EPSG:32644"
    assert found.parts == 2
    assert found.geobox.shape == (200, 240)


def test_grids_that_cannot_be_compared_are_refused():
    with pytest.raises(GridMismatchError, match="do not overlap"):
        align_grids(box(), box(90, 0))
    with pytest.raises(GridMismatchError, match="do not overlap"):
        align_grids(box(), box(0, 60.0000001))
    with pytest.raises(CrsError, match="without a CRS"):
        align_grids(box(), GeoBox((5, 5), Affine.identity(), None))


DEGREES = GeoBox((150, 210), Affine(1e-4, 0, 81.4, 0, -9e-5, 24.4), "EPSG:4326")


@pytest.mark.parametrize("grid", [box(shape=(150, 210)), DEGREES], ids=["metres", "degrees"])
def test_cells_sum_to_the_ground(grid):
    areas = CellAreas(grid)
    height, width = grid.shape
    parts = [areas.pixels(Window(top, 0, min(70, height - top), width)) for top in (0, 70, 140)]
    outline = shapely.segmentize(shapely.box(0, 0, width, height), 5)
    truth = abs(Geod(ellps="WGS84").geometry_area_perimeter(lonlat(outline, grid))[0])
    assert sum(part.sum() for part in parts) == pytest.approx(truth, rel=1e-6)
    assert areas.pixels(Window(13, 140, 9, 31)) == pytest.approx(parts[0][13:22, 140:171])


def test_a_polygon_is_enclosed_by_its_pixels():
    grid = box(shape=(100, 120))
    square = lonlat(shapely.box(30, 40, 50, 60), grid)
    found = pixel_window(square, grid)
    assert {found.row - 40, found.col - 30} <= {-1, -2}  # a pixel to spare
    assert {found.row + found.height - 60, found.col + found.width - 50} <= {1, 2}
    assert pixel_window(shapely.box(81, 20, 81.1, 20.1), part_of(grid, found)) is None
    with pytest.raises(CrsError, match="without a CRS"):
        pixel_window(square, GeoBox((5, 5), Affine.identity(), None))


def lonlat(shape, grid):
    """Lead a shape in pixels to longitude and latitude."""
    there = Transformer.from_crs(str(grid.crs), "EPSG:4326", always_xy=True)

    def move(coords):
        x, y = np.array([grid.affine * (c, r) for c, r in coords]).T
        return np.column_stack(there.transform(x, y))

    return shapely.transform(shape, move)
