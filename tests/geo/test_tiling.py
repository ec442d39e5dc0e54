import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headframe.core.errors import GridMismatchError
from headframe.geo.blending import Blender, axis_weights, fade_in
from headframe.geo.tiling import TileAxis, plan_tiling, tile_axis
from headframe.geo.window import Window


@st.composite
def axes(draw: st.DrawFn) -> tuple[TileAxis, int]:
    margin = draw(st.integers(0, 12))
    fade = draw(st.integers(0, 12))
    tile = 2 * margin + 3 * fade + draw(st.integers(1, 60))
    align = draw(st.sampled_from([1, 4, 32]))
    length = draw(st.integers(1, 400))
    try:
        axis = tile_axis(length, tile_px=tile, margin_px=margin, fade_px=fade, align_px=align)
    except GridMismatchError:
        axis = tile_axis(length, tile_px=tile, margin_px=margin, fade_px=fade)
    return axis, margin


@given(axes())
def test_weights_sum_to_exactly_one(drawn):
    axis, _ = drawn
    total = np.zeros(axis.length, dtype=np.float32)
    for i in range(len(axis)):
        total[axis.cuts[i] : axis.end(i)] += axis_weights(axis, i)
    np.testing.assert_array_equal(total, np.ones(axis.length, dtype=np.float32))


@given(axes())
def test_no_weight_within_the_margin_of_an_inner_edge(drawn):
    axis, margin = drawn
    for i, start in enumerate(axis.starts):
        assert 0 <= start <= axis.length - axis.size
        assert axis.cuts[i] >= start + (margin if i else 0)
        inner = margin if i < len(axis) - 1 else 0
        assert axis.end(i) <= start + axis.size - inner


def test_axis_by_hand():
    axis = tile_axis(100, tile_px=40, margin_px=4, fade_px=4, align_px=8)
    assert axis.starts == (0, 24, 48, 60)
    assert axis.cuts == (0, 30, 54, 72, 100)
    assert axis.end(0) == 34
    assert axis.end(3) == 100


def test_short_axis_is_one_tile_of_its_own_length():
    axis = tile_axis(17, tile_px=64, margin_px=8, fade_px=8)
    assert (axis.size, axis.starts, axis.cuts) == (17, (0,), (0, 17))


@pytest.mark.parametrize(("tile", "margin", "fade"), [(0, 0, 0), (16, -1, 0), (16, 0, -2)])
def test_impossible_sizes_are_refused(tile, margin, fade):
    with pytest.raises(GridMismatchError, match="cannot cover 50 px"):
        tile_axis(50, tile_px=tile, margin_px=margin, fade_px=fade)


def test_tiles_too_small_for_their_margin_name_the_remedy():
    with pytest.raises(GridMismatchError, match="Give --tile-px 81 or more"):
        tile_axis(500, tile_px=64, margin_px=16, fade_px=16)


def test_tile_side_must_be_a_multiple():
    with pytest.raises(GridMismatchError, match=r"--tile-px 100 is not a multiple of 32.*Give 128"):
        plan_tiling((500, 400), tile_px=100, margin_px=0, multiple_px=32)


def test_blocks_cover_each_pixel_of_the_rounded_extent_once():
    tiling = plan_tiling((301, 130), tile_px=96, margin_px=8, multiple_px=32)
    assert (tiling.rows.length, tiling.cols.length) == (320, 160)
    count = np.zeros((320, 160), dtype=int)
    for row, col in tiling.tiles():
        block, tile = tiling.block(row, col), tiling.tile(row, col)
        assert tile.row % 32 == tile.col % 32 == 0
        assert tile.row <= block.row
        assert block.row + block.height <= tile.row + tile.height
        count[block.row : block.row + block.height, block.col : block.col + block.width] += 1
    assert (count == 1).all()
    assert len(tiling) == len(list(tiling.tiles()))
    assert tiling.tile(0, 0) == Window(0, 0, 96, 96)


@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.integers(1, 4),
    st.integers(0, 6),
)
def test_every_block_holds_a_piece_of_the_scene(shape, tiles_px, margin):
    tile = 32 * tiles_px
    tiling = plan_tiling(shape, tile_px=tile, margin_px=margin, multiple_px=32)
    covered = np.zeros(shape, np.int64)
    for row, col in tiling.tiles():
        block = tiling.block(row, col)
        assert block.row < shape[0]
        assert block.col < shape[1]
        covered[block.row : block.row + block.height, block.col : block.col + block.width] += 1
    assert (covered == 1).all()


def test_a_tile_whose_block_would_lie_beyond_the_scene_is_left_out():
    rows = plan_tiling((70, 32), tile_px=32, margin_px=4, multiple_px=32).rows
    assert rows.starts[-1] + 32 == rows.length
    assert rows.cuts[-2] < 70 <= rows.length


def test_fade_is_exact_in_float32():
    rise = fade_in(33)
    assert rise[0] < 0.01
    assert rise[-1] > 0.99
    assert (np.diff(rise) > 0).all()
    np.testing.assert_array_equal(rise * 4096, np.round(rise * 4096))


def blend(tiling, scene, *, restart_at=None):
    out = np.full(scene.shape, np.nan, dtype=np.float32)
    blender = Blender(tiling, scene.shape[0])
    for row in range(len(tiling.rows)):
        if row == restart_at:
            carry = blender.carry.copy()
            blender = Blender(tiling, scene.shape[0])
            blender.restore(carry)
        for col in range(len(tiling.cols)):
            t, b = tiling.tile(row, col), tiling.block(row, col)
            tile = scene[:, t.row : t.row + t.height, t.col : t.col + t.width]
            out[:, b.row : b.row + b.height, b.col : b.col + b.width] = blender.add(row, col, tile)
    return out


@given(
    st.integers(20, 150), st.integers(20, 150), st.sampled_from([0, 1, 5]), st.integers(0, 2**31)
)
def test_blending_tiles_of_one_scene_gives_it_back(height, width, margin, seed):
    tiling = plan_tiling((height, width), tile_px=40, margin_px=margin)
    scene = np.random.default_rng(seed).random((2, height, width), dtype=np.float32)
    np.testing.assert_allclose(blend(tiling, scene), scene, atol=2e-7)
    ones = np.ones((1, height, width), dtype=np.float32)
    np.testing.assert_array_equal(blend(tiling, ones), ones)


def test_blending_continues_from_carried_rows():
    tiling = plan_tiling((150, 90), tile_px=40, margin_px=5)
    scene = np.random.default_rng(3).random((1, 150, 90), dtype=np.float32)
    np.testing.assert_array_equal(blend(tiling, scene), blend(tiling, scene, restart_at=2))


def test_a_missing_tile_counts_as_zeros():
    tiling = plan_tiling((40, 90), tile_px=40, margin_px=5)
    blender = Blender(tiling, 1)
    ones = np.ones((1, 40, 40), dtype=np.float32)
    first = blender.add(0, 0, ones)
    second = blender.add(0, 1, None)
    assert (first == 1).all()
    np.testing.assert_array_equal(second[0, 0, :5], 1 - fade_in(5))
    assert (second[0, :, 5:] == 0).all()


def test_carried_rows_must_fit():
    blender = Blender(plan_tiling((90, 90), tile_px=40, margin_px=5), 1)
    with pytest.raises(GridMismatchError, match="do not fit"):
        blender.restore(np.zeros((1, 5, 80), dtype=np.float32))
