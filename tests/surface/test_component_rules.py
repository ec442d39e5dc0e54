import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from headframe.core.classmap import ClassInfo, ClassMap
from headframe.core.components import NODATA_BITS, SLOPES
from headframe.core.errors import CrsError, InputError
from headframe.io.bitrows import ArrayRows
from headframe.surface.component_rules import (
    COMPONENT_BITS,
    DAM_AT_TAILINGS,
    GATE,
    PREPARATION_AT_EXCAVATION,
    RULES,
    SLOPES_IN_EXCAVATION,
    TRANSFORMED,
    Inside,
    LandCover,
    Touching,
    apply_rules,
    apply_to_classes,
)

LETTERS = {
    "e": "excavation",
    "p": "preparatory_work_area",
    "d": "dam",
    "t": "tailings_storage_facility",
    "s": "exploitation_slope",
    "r": "transportation_slope",
    "m": TRANSFORMED,
    "k": "stockpile",
}
WITH_GATE = {**COMPONENT_BITS, TRANSFORMED: 10}


def stack(*drawings):
    """Bit mask of equal-sized drawings laid over each other; '.' is nothing, '#' no data."""
    layers = []
    for drawing in drawings:
        rows = drawing.split()
        bits = [
            [
                NODATA_BITS if c == "#" else 0 if c == "." else 1 << WITH_GATE[LETTERS[c]]
                for c in row
            ]
            for row in rows
        ]
        layers.append(np.array(bits, dtype=np.uint16))
    return np.bitwise_or.reduce(layers)


def only(rule, bits, **choices):
    left, (removed,) = apply_rules(bits, [rule], **choices)
    return left, removed


def test_a_preparatory_area_must_touch_an_excavation():
    bits = stack("""
        pp.....
        pp..ppe
        .......
        e.....p
        .p...pp
    """)
    left, removed = only(PREPARATION_AT_EXCAVATION, bits)
    # the first touches nothing, the second an edge, the third a corner, the last nothing
    expected = stack("""
        .......
        ....ppe
        .......
        e......
        .p.....
    """)
    np.testing.assert_array_equal(left, expected)
    assert removed.pixels == {"preparatory_work_area": 7}
    assert removed.objects == {"preparatory_work_area": 2}
    assert bits[0, 0] != 0  # the input stays


def test_edges_only_and_gaps():
    bits = stack("""
        e......
        .p.....
        ...e.p.
    """)
    rule = PREPARATION_AT_EXCAVATION
    strict = Touching(rule.name, rule.of, rule.to, corners=False)
    far = Touching(rule.name, rule.of, rule.to, reach_px=2, corners=False)
    assert only(strict, bits)[1].objects == {rule.of: 2}
    assert only(rule, bits)[1].objects == {rule.of: 1}
    assert only(far, bits)[1].objects == {}


def test_overlap_is_touching():
    bits = stack("dd...", "t...t")
    left, removed = only(DAM_AT_TAILINGS, bits)
    np.testing.assert_array_equal(left, bits)
    assert (removed.pixels, removed.objects) == ({}, {})


def test_other_components_of_a_removed_object_stay():
    bits = stack("d.d.t", "k....")
    left, removed = only(DAM_AT_TAILINGS, bits)
    np.testing.assert_array_equal(left, stack("k...t"))
    assert removed.objects == {"dam": 2}


def test_no_data_is_no_excavation_and_stays_no_data():
    bits = stack("p##e.pe")
    left, removed = only(PREPARATION_AT_EXCAVATION, bits)
    np.testing.assert_array_equal(left, stack(".##e.pe"))
    assert removed.pixels == {"preparatory_work_area": 1}
    whole = stack("####")
    for rule in RULES.values():
        left, removed = only(rule, whole, bit_of=WITH_GATE)
        np.testing.assert_array_equal(left, whole)
        assert removed.pixels == {}


def test_slopes_lie_inside_excavations_only():
    bits = stack("sssrr..", "eee..e#")
    left, removed = only(SLOPES_IN_EXCAVATION, bits)
    np.testing.assert_array_equal(left, stack("sss....", "eee..e#"))
    assert removed.pixels == {"transportation_slope": 2}
    assert removed.objects == {"transportation_slope": 1}
    partly = stack("..sss", "...ee")
    left, removed = only(SLOPES_IN_EXCAVATION, partly)
    np.testing.assert_array_equal(left, stack("...ss", "...ee"))
    assert removed.pixels == {"exploitation_slope": 1}
    assert removed.objects == {}  # cut, not gone


def test_model_4_is_the_gate_of_the_others():
    bits = stack("ee.kk", "d...d", ".mm..")
    left, removed = only(GATE, bits, bit_of=WITH_GATE)
    np.testing.assert_array_equal(left, stack(".e...", ".mm.."))
    assert removed.pixels == {"excavation": 1, "stockpile": 2, "dam": 2}
    assert removed.objects == {"stockpile": 1, "dam": 2}


def test_a_rule_without_its_components_does_nothing():
    bits = stack("ee.kk")
    left, removed = only(GATE, bits)  # the labels' ten bits have no model 4
    np.testing.assert_array_equal(left, bits)
    assert removed.to_json() == {"rule": "inside-transformed-area", "pixels": {}, "objects": {}}
    assert GATE.lacks(COMPONENT_BITS) == TRANSFORMED
    assert DAM_AT_TAILINGS.lacks({"dam": 0}) == "tailings_storage_facility"
    assert SLOPES_IN_EXCAVATION.lacks({"excavation": 0}) == " and ".join(SLOPES)
    assert GATE.lacks({TRANSFORMED: 0}) == "any other component"


def test_pixels_are_cut_before_objects_are_judged():
    # the excavation lies outside the transformed area, so the preparatory area beside it goes too
    bits = stack("pe.pe", "m..mm")
    left, removed = apply_rules(bits, list(RULES.values()), bit_of=WITH_GATE)
    np.testing.assert_array_equal(left, stack("...pe", "m..mm"))
    assert [r.rule for r in removed] == list(RULES)
    assert removed[0].pixels == {"excavation": 1}
    assert removed[2].objects == {"preparatory_work_area": 1}


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), cuts=st.sets(st.integers(1, 18)), reach=st.integers(1, 4))
def test_cutting_a_scene_into_strips_changes_nothing(seed, cuts, reach):
    rng = np.random.default_rng(seed)
    bits = np.zeros((19, 13), dtype=np.uint16)
    for bit in WITH_GATE.values():
        bits |= np.where(rng.random(bits.shape) < 0.3, np.uint16(1 << bit), np.uint16(0))
    bits[rng.random(bits.shape) < 0.1] = NODATA_BITS
    wide = Touching("wide", "stockpile", "settling_pond", reach_px=reach)
    for rule in (*RULES.values(), wide, Inside("few", "dam", ("stockpile", "excavation"))):
        whole, expected = only(rule, bits, bit_of=WITH_GATE)
        rows = ArrayRows(bits.copy(), sorted(cuts))
        assert rule(rows, WITH_GATE) == expected
        np.testing.assert_array_equal(rows.bits, whole)


GRID = GeoBox((3, 5), Affine(10, 0, 600_000, 0, -10, 7_800_000), "EPSG:32723")


def cover_file(path, values):
    with rasterio.open(
        path, "w", driver="GTiff", height=3, width=4, count=1, dtype="uint8", nodata=255,
        crs="EPSG:32723", transform=GRID.affine,
    ) as file:  # fmt: skip
        file.write(np.array(values, dtype=np.uint8), 1)
    return str(path)


def test_no_component_lies_on_excluded_land_cover(tmp_path):
    # the cover is a column narrower than the scene, and knows nothing of one pixel
    values = [[10, 10, 60, 60], [40, 60, 60, 255], [60, 60, 60, 60]]
    path = cover_file(tmp_path / "cover.tif", values)
    bits = stack("""
        eee.k
        e...#
        ..kk.
    """)
    left, removed = only(LandCover(path, (10, 40, 255)), bits, geobox=GRID)
    expected = stack("""
        ..e.k
        ....#
        ..kk.
    """)
    np.testing.assert_array_equal(left, expected)
    assert removed.pixels == {"excavation": 3}
    assert removed.objects == {}
    assert LandCover(path, (10, 40)).facts() != LandCover(path, (10,)).facts()


def test_land_cover_needs_a_place_and_classes(tmp_path):
    path = cover_file(tmp_path / "cover.tif", np.full((3, 4), 10))
    with pytest.raises(CrsError, match=r"cover\.tif: cannot be laid over a scene that has no CRS"):
        apply_rules(stack("ee."), [LandCover(path, (10,))])
    with pytest.raises(InputError, match="--land-cover-exclude"):
        LandCover(path, ())


def test_rules_on_the_classes_of_one_model():
    names = ["background", "dam", "tailings_storage_facility"]
    classes = ClassMap(tuple(ClassInfo(i, n, (i, i, i)) for i, n in enumerate(names)))
    values = np.array([[1, 0, 255, 1, 2], [1, 0, 0, 0, 2]], dtype=np.uint8)
    left, removed = apply_to_classes(values, classes, list(RULES.values()))
    np.testing.assert_array_equal(left, [[0, 0, 255, 1, 2], [0, 0, 0, 0, 2]])
    assert [r.pixels for r in removed] == [{}, {}, {}, {"dam": 2}]
    many = ClassMap(tuple(ClassInfo(i, str(i), (i, i, i)) for i in range(17)))
    with pytest.raises(InputError, match="17 classes do not fit"):
        apply_to_classes(values, many, [])
