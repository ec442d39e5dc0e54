"""Pictures: the truth is what is seen, the same seed draws the same, all classes are there."""

from dataclasses import replace

import numpy as np
import pytest

from headframe.datasets.drawn.tunnel import CLASSES, draw_picture
from headframe.datasets.drawn.tunnel.grain import make_grain
from headframe.datasets.drawn.tunnel.kit import Ink, Kit, Palette
from headframe.datasets.drawn.tunnel.lighting import Light, Surface, hazed, shade
from headframe.datasets.drawn.tunnel.machines import MACHINES, Shop
from headframe.datasets.drawn.tunnel.optics import Lens, develop, gain_of
from headframe.datasets.drawn.tunnel.people import POSES, make_outfit, make_person, pose
from headframe.datasets.drawn.tunnel.picture import take
from headframe.datasets.drawn.tunnel.plan import make_plan
from headframe.datasets.drawn.tunnel.rays import look
from headframe.datasets.drawn.tunnel.scene import stage
from headframe.datasets.drawn.tunnel.site import make_site

SIZE = (60, 84)


def test_same_seed_same_picture_and_no_other():
    one = draw_picture(1, tunnel=2, number=3, size=SIZE)
    again = draw_picture(1, tunnel=2, number=3, size=SIZE)
    assert np.array_equal(one.bright, again.bright)
    assert np.array_equal(one.labels, again.labels)
    assert one.instances == again.instances
    assert one.bright.shape == (*SIZE, 3)
    assert one.bright.dtype == np.uint8
    for changed in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
        other = draw_picture(changed[0], tunnel=changed[1], number=changed[2], size=SIZE)
        assert not np.array_equal(one.bright, other.bright)


def crowd(*, actors=2):
    """A scene with several people and machines, and a lens that keeps pixels apart."""
    site = make_site(0, 1)
    for seed in range(60):
        plan = make_plan(site, seed)
        if len(plan.actors) >= actors + 2:
            break
    sharp = Lens(glare=0, vignette=0.2, soft_px=0)
    return site, replace(plan, lens=sharp, dust=0.0)


def test_recoloured_things_change_just_their_mask():
    site, plan = crowd()
    scene = stage(site, plan, size=SIZE)
    before = take(scene, plan)
    checked = 0
    for owner, thing in scene.names.items():
        if thing not in before.instances:
            continue
        ink = scene.palette.add(Ink((0.0, 0.9, 0.1), 0.0, 0.0, glow=0.5))
        painted = tuple(
            replace(solid, skin=replace(solid.skin, ink=ink, bands=()))
            if solid.skin.owner == owner
            else solid
            for solid in scene.actors
        )
        after = take(replace(scene, actors=painted), plan, gain=before.gain)
        mask = before.labels == before.instances.index(thing)
        changed = (after.bright != before.bright).any(axis=2)
        assert np.array_equal(changed, mask)
        assert np.array_equal(after.labels, before.labels)
        checked += 1
    assert checked >= 2


def test_what_is_taken_away_shows_what_it_hid():
    site, plan = crowd()
    scene = stage(site, plan, size=SIZE)
    full = take(scene, plan)
    empty = take(replace(scene, actors=(), lights=scene.lights), plan)
    gone = {thing.category for thing in empty.instances}
    assert gone.isdisjoint({"people", "equipment"})
    moved = np.array([i.category in {"people", "equipment"} for i in full.instances])[full.labels]
    names = np.array([i.name for i in full.instances])[full.labels]
    behind = np.array([i.name for i in empty.instances])[empty.labels]
    assert moved.any()
    assert (names == behind)[~moved].all()


@pytest.mark.parametrize("tunnel", range(3))
def test_a_walking_camera_does_not_jump(tunnel):
    site = make_site(1, tunnel)
    plan = make_plan(site, 0, moving=True)
    places = []
    for step in range(60):
        camera = stage(site, plan, size=(8, 8), seconds=step / 10).camera
        assert any(cell.holds(camera.position, by=0.1) for cell in site.cells)
        places.append(camera.position)
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    assert steps.max() < 0.45
    assert steps.sum() > 1.0


def test_each_class_is_often_there():
    seen = dict.fromkeys(CLASSES, 0)
    count = 0
    for tunnel in range(5):
        for number in range(4):
            picture = draw_picture(5, tunnel=tunnel, number=number, size=(48, 64))
            pixels = np.bincount(picture.labels.ravel(), minlength=len(picture.instances))
            assert picture.labels.min() >= 0
            assert len({i.name for i in picture.instances}) == len(picture.instances)
            shown = zip(picture.instances, pixels, strict=True)
            for name in {thing.category for thing, area in shown if area >= 3}:
                seen[name] += 1
            count += 1
            assert 30 < picture.bright.mean() < 190
    assert min(seen[name] for name in ("road", "wall", "roof")) >= 0.85 * count
    assert min(seen.values()) >= 0.5 * count


def test_road_lies_low_and_roof_high():
    picture = draw_picture(5, tunnel=0, number=0, size=SIZE)
    kinds = np.array([thing.category for thing in picture.instances])[picture.labels]
    rows = np.broadcast_to(np.arange(SIZE[0])[:, None], SIZE)
    assert (
        rows[kinds == "roof"].mean() < rows[kinds == "wall"].mean() < rows[kinds == "road"].mean()
    )


@pytest.mark.parametrize("name", POSES)
def test_poses_stand_on_the_floor(name):
    palette = Palette()
    rng = np.random.default_rng(3)
    outfit = make_outfit(rng, palette, lamp_on=True)
    joints = pose(name, rng, phase=0.3)
    solids, lamp, aim = make_person(outfit, joints, 1001, origin=np.zeros(3), heading=0.4)
    points = np.concatenate([solid.bounds()[0] for solid in solids])
    low, high = points[:, 1].min(), points[:, 1].max()
    assert -0.05 < low < 0.2
    assert high < (0.9 if name == "lying" else 2.3)
    assert high > (1.4 if name in {"standing", "walking"} else 0.1)
    assert np.linalg.norm(aim) == pytest.approx(1)
    assert np.linalg.norm(lamp - points.mean(axis=0)) < 1.6


@pytest.mark.parametrize("name", MACHINES)
def test_machines_stand_on_the_floor(name):
    build, radius, _ = MACHINES[name]
    for seed in range(4):
        kit = Kit(1000, np.zeros(3))
        shop = Shop(kit, np.random.default_rng(seed), Palette())
        build(shop)
        points = np.concatenate([solid.bounds()[0] for solid in kit.solids])
        assert -0.1 <= points[:, 1].min() < 0.35
        assert points[:, 1].max() < 3.2
        assert np.abs(points[:, [0, 2]]).max() < 4.5
        assert radius > 0


def wall(size=(20, 30)):
    points = np.zeros((*size, 3), np.float32)
    points[..., 2] = 4.0
    points[..., 0] = np.linspace(-2, 2, size[1])
    normal = np.broadcast_to(np.array([0, 0, -1], np.float32), points.shape)
    flat = np.zeros(size, np.float32)
    return Surface(points, normal, np.full_like(points, 0.5), flat, flat, flat)


def test_light_falls_off_with_distance_and_outside_its_cone():
    camera = look(np.zeros(3), 0.0, pitch=0, roll=0, view=1.2, size=(20, 30))
    none = np.zeros((20, 30), np.float32)
    surface = wall()
    aim = np.array([0, 0, 1.0])
    lamp = Light(np.array([0, 0, 2.0]), (1, 1, 1), 4.0, aim, 0.3)
    lit = shade(camera, surface, [lamp], ambient=none, casters=())
    assert lit[10, 15, 0] == pytest.approx(0.5 * 4 / (4 + 0.15), rel=0.05)
    assert lit[10, 0, 0] < 0.05 * lit[10, 15, 0]
    bare = Light(np.array([0, 0, 3.0]), (1, 0, 0), 4.0)
    near = shade(camera, surface, [bare], ambient=none, casters=())
    assert near[10, 15, 0] > 2 * lit[10, 15, 0]
    assert near[..., 1:].max() == 0
    kit = Kit(0, np.array([0, 0, 2.6]))
    kit.ball((0, 0, 0), (0.2, 0.2, 0.2), 0)
    shadowed = replace(lamp, shadows=True, cone=0.9)
    open_ = shade(camera, surface, [shadowed], ambient=none, casters=())
    dark = shade(camera, surface, [shadowed], ambient=none, casters=kit.solids)
    assert dark[10, 15, 0] < 0.2 * open_[10, 15, 0]
    assert dark[10, 28, 0] == pytest.approx(open_[10, 28, 0])


def test_dust_takes_light_and_shows_cones():
    camera = look(np.zeros(3), 0.0, pitch=0, roll=0, view=1.2, size=(40, 60))
    seen = np.ones((40, 60, 3), np.float32)
    depth = np.full((40, 60), 10, np.float32)
    assert hazed(camera, seen, depth, lights=(), density=0, ambient=0.1) is seen
    clear = hazed(camera, seen, depth, lights=(), density=0.05, ambient=0.0)
    assert clear[20, 30, 0] == pytest.approx(np.exp(-0.5), rel=1e-3)
    lamp = Light(np.array([1.0, 0, 4]), (1, 1, 1), 9.0)
    glow = hazed(camera, seen, depth, lights=[lamp], density=0.05, ambient=0.0) - clear
    row, col = np.unravel_index(glow[..., 0].argmax(), depth.shape)
    assert row == pytest.approx(20, abs=3)
    assert col == pytest.approx(30 + camera.focal_px / 4, abs=4)


def test_lens():
    light = np.full((48, 64, 3), 0.2, np.float32)
    light[20:24, 30:34] = 50
    lens = Lens(key=0.2, glare=0, vignette=0, soft_px=0)
    gain = gain_of(np.full((48, 64, 3), 0.4, np.float32), lens)
    assert gain == pytest.approx(0.5)
    plain = develop(light, lens, gain=1.0)
    assert plain[0, 0, 0] == round(255 * (1 - np.exp(-0.26)) ** (1 / 2.2))
    assert plain[21, 31].min() == 255
    glare = develop(light, replace(lens, glare=0.3), gain=1.0)
    assert glare[21, 40, 0] > plain[21, 40, 0]
    corners = develop(light, replace(lens, vignette=0.8), gain=1.0)
    assert corners[0, 0, 0] < plain[0, 0, 0]
    moved = develop(light, replace(lens, blur_px=50.0), gain=1.0)
    assert moved[22, 28, 0] > plain[22, 28, 0]
    assert moved[15, 31, 0] == plain[15, 31, 0]
    tinted = develop(light, replace(lens, tint=(1.2, 1.0, 0.8), grey=1.0), gain=1.0)
    assert (tinted[0, 0] == tinted[0, 0, 0]).all()


def test_grain_repeats_and_slopes_fit():
    grain = make_grain(np.random.default_rng(0), fall=1.5, ridged=0.3, lumpy=0.4)
    u, v = np.meshgrid(
        np.linspace(0, 1, 30, dtype=np.float32), np.linspace(0, 2, 20, dtype=np.float32)
    )
    here = grain.at(u, v, side_m=2.0)
    assert np.allclose(here, grain.at(u + 2, v - 4, side_m=2.0), atol=2e-2)
    step = np.float32(2.0 / 512)
    slope = (grain.at(u + step, v, side_m=2.0) - grain.at(u - step, v, side_m=2.0))[..., 0]
    assert np.corrcoef(slope.ravel() / (2 * step), here[..., 1].ravel())[0, 1] > 0.9
    listed = grain.scattered(u.ravel(), v.ravel(), side_m=2.0)
    assert np.allclose(listed, here.reshape(-1, 4))
