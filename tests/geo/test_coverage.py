import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from headframe.core.errors import GeometryError
from headframe.geo.coverage import Region, Stitcher, StripParts, label_strip, simplify_cluster


def pixel_parts(classes, scores, first_row):
    """Strip parts whose polygons are unions of unit squares: slow and plainly right."""
    labels = label_strip(classes)
    shapes = [
        Region(1, 1, 1.0, [shapely.box(x, y, x + 1, y + 1) for y, x in cells]).polygon()
        for cells in (
            np.argwhere(labels.components == n + 1) + np.array([first_row, 0])
            for n in range(len(labels.classes))
        )
    ]
    numbers = labels.components[labels.components > 0] - 1
    n = len(labels.classes)
    return StripParts(
        labels.classes,
        labels.cluster_of,
        np.bincount(numbers, minlength=n),
        np.bincount(numbers, weights=scores[labels.components > 0], minlength=n),
        shapes,
        np.stack(
            [labels.components[0], labels.clusters[0], labels.components[-1], labels.clusters[-1]]
        ),
    )


def stitched(classes, scores, heights):
    stitcher = Stitcher()
    clusters, row = [], 0
    for height in heights:
        rows = slice(row, row + height)
        clusters += stitcher.add(pixel_parts(classes[rows], scores[rows], row))
        row += height
    return clusters + list(stitcher.close())


def summary(clusters):
    return sorted(
        sorted(
            (r.kind, r.pixels, round(r.score_sum, 6), r.polygon().normalize().wkt) for r in cluster
        )
        for cluster in clusters
    )


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(np.uint8, (11, 7), elements=st.sampled_from([0, 1, 2, 255])),
    st.lists(st.integers(1, 4), min_size=11, max_size=11),
)
def test_strips_of_any_height_give_the_regions_of_the_whole(classes, heights):
    scores = np.linspace(0, 1, classes.size, dtype=np.float32).reshape(classes.shape)
    cut = [h for h, end in zip(heights, np.cumsum(heights), strict=True) if end < 11]
    parts = stitched(classes, scores, [*cut, 11 - sum(cut)])
    assert summary(parts) == summary(stitched(classes, scores, [11]))
    inside = (classes > 0) & (classes < 255)
    assert sum(r.pixels for c in parts for r in c) == inside.sum()
    assert len(parts) == ndimage.label(inside, np.ones((3, 3)))[1]
    for region in (r for c in parts for r in c):
        assert region.polygon().is_valid
        assert region.polygon().area == region.pixels


def test_a_finished_cluster_is_given_at_once():
    classes = np.zeros((6, 4), dtype=np.uint8)
    classes[0, 0] = classes[3:, 3] = 1
    stitcher = Stitcher()
    scores = np.full(classes.shape, 0.5, dtype=np.float32)
    first = list(stitcher.add(pixel_parts(classes[:3], scores[:3], 0)))
    second = list(stitcher.add(pixel_parts(classes[3:], scores[3:], 3)))
    assert [len(c) for c in first] == [1]
    assert second == []
    (last,) = stitcher.close()
    assert last[0].polygon().equals(shapely.box(3, 3, 4, 6))
    assert last[0].mean_score == 0.5


def test_corners_join_clusters_but_not_regions():
    classes = np.array([[1, 0], [0, 1]], dtype=np.uint8)
    (cluster,) = stitched(classes, np.ones((2, 2), dtype=np.float32), [1, 1])
    assert [r.pixels for r in cluster] == [1, 1]


def test_a_ring_that_touches_itself_is_made_valid():
    # Eight cells around a hole, less one corner: hole and outside meet in a point.
    ring = [(1, 0), (3, 0), (3, 3), (0, 3), (0, 1), (1, 1), (1, 2), (2, 2), (2, 1), (1, 1)]
    shape = shapely.Polygon(ring)
    assert not shape.is_valid
    whole = Region(1, 7, 7.0, [shape]).polygon()
    assert whole.is_valid
    assert (whole.area, len(whole.interiors)) == (7.0, 1)


def test_simplified_neighbours_share_their_edge():
    rng = np.random.default_rng(5)
    field = ndimage.gaussian_filter(rng.normal(size=(60, 40)), 5)
    classes = np.where(field > np.quantile(field, 0.6), 2, 1).astype(np.uint8)
    classes[field < np.quantile(field, 0.3)] = 3
    (cluster,) = stitched(classes, np.ones(classes.shape, dtype=np.float32), [20, 20, 20])
    exact = [r.polygon() for r in cluster]
    simple = simplify_cluster(exact, tolerance_m=30, pixel_size_m=(10, 8))
    assert shapely.get_num_coordinates(simple).sum() < shapely.get_num_coordinates(exact).sum() / 2
    assert shapely.coverage_is_valid(simple)
    whole = shapely.union_all(simple)
    assert sum(p.area for p in simple) == pytest.approx(whole.area, rel=1e-9)
    assert len(getattr(whole, "interiors", [])) == 0


def test_tolerance_counts_metres_in_both_directions():
    stairs = shapely.union_all([shapely.box(i, 0, i + 1, 20 - i) for i in range(10)])
    tall = simplify_cluster([stairs], tolerance_m=9, pixel_size_m=(10, 10))[0]
    wide = simplify_cluster([stairs], tolerance_m=9, pixel_size_m=(30, 30))[0]
    assert shapely.get_num_coordinates(tall) < shapely.get_num_coordinates(wide)
    assert shapely.get_num_coordinates(wide) == 23  # its corners


def test_an_empty_strip_has_no_regions():
    labels = label_strip(np.full((3, 5), 255, dtype=np.uint8))
    assert len(labels.classes) == 0
    assert not labels.components.any()


def test_separate_parts_are_no_region():
    with pytest.raises(GeometryError, match="MultiPolygon parts"):
        Region(1, 2, 2.0, [shapely.box(0, 0, 1, 1), shapely.box(3, 0, 4, 1)]).polygon()
