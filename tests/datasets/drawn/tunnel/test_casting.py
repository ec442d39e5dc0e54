"""Rays against solids and tunnels, by hand."""

import math

import numpy as np
import pytest

from headframe.datasets.drawn.tunnel.bore import END, FLOOR, LEFT, RIGHT, ROOF, Cell, Section, skin
from headframe.datasets.drawn.tunnel.kit import Ink, Kit, Palette
from headframe.datasets.drawn.tunnel.rays import Buffer, look
from headframe.datasets.drawn.tunnel.sections import make_section
from headframe.datasets.drawn.tunnel.site import SHAPES, make_site
from headframe.datasets.drawn.tunnel.solids import cast_depth, draw_solids

RECTANGLE = Section(
    np.array([(-2.0, 0), (2, 0), (2, 3), (-2, 3)]),
    (4.0, 7.0, 11.0),
)


def eye(x=0.0, y=1.0, z=0.0, *, heading=0.0, size=(41, 61), view=math.pi / 2, **turned):
    angles = {"pitch": 0.0, "roll": 0.0, **turned}
    return look(np.array([x, y, z]), heading, view=view, size=size, **angles)


def test_camera_sees_right_to_the_right_and_down_below():
    camera = eye()
    right, down, ahead = camera.seen(np.array([[0.5, 0.8, 4.0]]))[0]
    assert (right, down, ahead) == pytest.approx((0.5, 0.2, 4.0))
    turned = eye(heading=math.pi / 2)  # looks along x
    assert turned.seen(np.array([[3.0, 1, 0]]))[0] == pytest.approx((0, 0, 3))
    up = eye(pitch=0.3, roll=0.2)
    assert np.allclose(up.basis @ up.basis.T, np.eye(3))
    assert up.basis[2] == pytest.approx((0, math.sin(0.3), math.cos(0.3)))
    assert camera.focal_px == pytest.approx(30.5)
    assert camera.rays[20, 30] == pytest.approx((0, 0, 1))


def test_window_holds_what_is_seen():
    camera = eye(roll=0.3, pitch=-0.2)
    rng = np.random.default_rng(0)
    for _ in range(50):
        centre, radius = rng.uniform((-3, -1, -1), (3, 3, 6)), rng.uniform(0.05, 0.8)
        kit = Kit(0, centre)
        kit.ball((0, 0, 0), (radius, radius, radius), 0)
        hit = np.isfinite(kit.solids[0].cast(camera, camera.whole))
        window = camera.window(*kit.solids[0].bounds())
        if window is not None:
            hit[window] = False
        assert not hit.any()


def test_depths_and_normals_by_hand():
    camera = eye()
    for build, depth in (
        (lambda kit: kit.ball((0, 1, 4), (1, 2, 0.5), 3), 3.5),
        (lambda kit: kit.capsule(((0, 0, 5), (0, 3, 5)), 0.25, 3), 4.75),
        (lambda kit: kit.capsule(((0, 1, 5), (0, 1, 9)), 0.25, 3), 4.75),
        (lambda kit: kit.box((-1, 0, 3), (1, 2, 4), 3), 3.0),
        (lambda kit: kit.wheel((0, 1, 6), 1.5, 1.0, 3), 4.5),
    ):
        kit = Kit(7, np.zeros(3))
        build(kit)
        buffer = Buffer(camera)
        draw_solids(buffer, kit.solids)
        assert buffer.depth[20, 30] == pytest.approx(depth, rel=1e-3)
        assert buffer.normal[20, 30] == pytest.approx((0, 0, -1), abs=0.23)  # wheels have 14 sides
        assert (buffer.owner[20, 30], buffer.ink[20, 30]) == (7, 3)
        assert cast_depth(camera, kit.solids)[20, 30] == buffer.depth[20, 30]
        on = buffer.solid
        assert ((buffer.normal * camera.rays).sum(axis=2)[on] < 1e-5).all()
        assert (buffer.owner[~on] == -1).all()


def test_ball_covers_its_disc():
    camera = eye(size=(201, 301), view=0.2)
    kit = Kit(0, np.array([0, 1.0, 20]))
    kit.ball((0, 0, 0), (0.5, 0.5, 0.5), 0)
    depth = cast_depth(camera, kit.solids)
    radius_px = camera.focal_px * 0.5 / math.sqrt(20**2 - 0.5**2)
    assert np.isfinite(depth).sum() == pytest.approx(math.pi * radius_px**2, rel=0.01)


def test_nearer_solid_hides_further_in_any_order():
    camera = eye()
    front, back = Kit(1, np.zeros(3)), Kit(2, np.zeros(3))
    front.ball((0.3, 1, 3), (0.4, 0.4, 0.4), 0)
    back.box((-1, 0, 5), (1, 2, 6), 0)
    seen = []
    for order in ((front, back), (back, front)):
        buffer = Buffer(camera)
        for kit in order:
            draw_solids(buffer, kit.solids)
        seen.append(buffer.owner)
    assert (seen[0] == seen[1]).all()
    assert set(np.unique(seen[0])) == {-1, 1, 2}


def test_what_lies_behind_is_not_drawn_and_bands_are():
    camera = eye()
    kit = Kit(1, np.zeros(3))
    kit.ball((0, 1, -3), (1, 1, 1), 0)
    kit.capsule(((0, 1, -5), (0, 1, -2)), 0.2, 0)
    assert np.isinf(cast_depth(camera, kit.solids)).all()
    post = Kit(1, np.zeros(3))
    post.capsule(((0, 0.0, 2), (0, 2.0, 2)), 0.3, 4, bands=((0.4, 0.6),), band_ink=5)
    buffer = Buffer(camera)
    draw_solids(buffer, post.solids)
    assert buffer.ink[20, 30] == 5  # eye level is the middle of the post
    assert buffer.ink[28, 30] == 4


def test_kit_turns_and_scales():
    kit = Kit(0, np.array([1.0, 0, 2]), heading=math.pi / 2, scale=2.0)
    assert kit.world((0, 1, 1)) == pytest.approx((3, 2, 2))  # ahead is along x now
    tipped = Kit(0, np.zeros(3), tilt=math.pi / 2)
    assert tipped.world((0, 1, 0)) == pytest.approx((0, 0, -1), abs=1e-9)
    palette = Palette()
    assert palette.add(Ink((0.1, 0.2, 0.3))) == palette.add(Ink((0.1, 0.2, 0.3))) == 0
    other = palette.copy()
    other.add(Ink((0.5, 0.5, 0.5)))
    assert len(palette.inks) == 1


def test_straight_tunnel_by_hand():
    cells = (Cell(RECTANGLE, np.array([0.0, 0, -1]), 0.0, 11.0),)
    camera = eye(x=0.5)
    found = skin(camera, cells, [0])
    y, x = camera.y, camera.x
    assert found.depth[20, 30] == pytest.approx(10)
    assert found.side[20, 30] == END
    assert found.depth[40, 30] == pytest.approx(1 / y[40], rel=1e-4)
    assert found.side[40, 30] == FLOOR
    assert found.depth[0, 30] == pytest.approx(2 / -y[0], rel=1e-4)
    assert found.side[0, 30] == ROOF
    assert found.depth[20, 60] == pytest.approx(1.5 / x[60], rel=1e-4)
    assert found.side[20, 60] == RIGHT
    assert found.depth[20, 0] == pytest.approx(2.5 / -x[0], rel=1e-4)
    assert found.side[20, 0] == LEFT
    assert found.normal[40, 30] == pytest.approx((0, 1, 0), abs=1e-6)
    assert found.normal[20, 60] == pytest.approx((-1, 0, 0), abs=1e-6)
    assert found.u[40, 30] == pytest.approx(2.5, abs=1e-3)  # from the left corner of the floor
    assert found.v[40, 30] == pytest.approx(1 + 1 / y[40], rel=1e-3)


def test_rays_leave_where_the_union_of_cells_ends():
    site = make_site(3, 2)
    place, heading = site.locate(4.0, height=1.2)
    camera = eye(*place, heading=heading, size=(24, 32))
    order = list(range(len(site.cells)))
    order.sort(key=lambda number: (number >= site.main, abs(number - site.cell_at(4.0))))
    depth = skin(camera, site.cells, order).depth

    def inside(points):
        return np.any(
            [
                np.all(points @ cell.planes[0].T <= cell.planes[1] + 1e-3, axis=-1)
                for cell in site.cells
            ],
            axis=0,
        )

    shares = np.linspace(0.02, 0.995, 60)
    steps = camera.rays[..., None, :] * (depth[..., None] * shares)[..., None]
    assert inside(camera.position + steps).mean() > 0.9999
    beyond = camera.position + camera.rays * (depth * 1.002 + 0.01)[..., None]
    assert inside(beyond).mean() < 0.02


@pytest.mark.parametrize("shape", SHAPES)
def test_sections(shape):
    section = make_section(np.random.default_rng(1), shape, half=2.0, height=3.0, uneven=0.1)
    x, y = section.corners.T
    assert section.corners[0] == pytest.approx((-2, 0))
    assert section.corners[1] == pytest.approx((2, 0))
    area = np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))
    assert area > 0  # counter-clockwise
    sides = np.roll(section.corners, -1, axis=0) - section.corners
    following = np.roll(sides, -1, axis=0)
    assert (sides[:, 0] * following[:, 1] - sides[:, 1] * following[:, 0] > -1e-9).all()
    right, roof, left = section.marks
    assert 0 < right < roof < left < section.lengths.sum()
    assert section.wall_at(0.5, 1) > 0 > section.wall_at(0.5, -1)
    assert 0.5 * section.height < section.roof_at(0.0) <= section.height + 1e-9


def test_sites_differ_and_are_the_same_again():
    sites = [make_site(0, tunnel) for tunnel in range(5)]
    one, again, other = sites[4], make_site(0, 4), sites[3]
    assert np.array_equal(one.cells[3].corners, again.cells[3].corners)
    assert np.array_equal(one.stone.coarse.layers, again.stone.coarse.layers)
    assert one.palette.inks == again.palette.inks
    assert not np.array_equal(one.stone.coarse.layers, other.stone.coarse.layers)
    assert {site.shape for site in sites} == set(SHAPES)
    assert one.cell_at(0.1) == 0
    assert one.cell_at(one.length) == one.main - 1
    assert len(one.mouths) == len(one.cells) - one.main
    for along in (0.5, one.length / 2, one.length - 0.5):
        assert any(cell.holds(one.locate(along, height=0.5)[0]) for cell in one.cells)
