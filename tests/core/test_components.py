import numpy as np
import pytest

from headframe.core.components import (
    ALL_BITS,
    CLASS_SETS,
    COMPONENT_NAMES,
    COMPONENTS,
    FULL,
    NODATA_BITS,
    ClassSetName,
    bits_of,
    bits_of_layers,
    build_target,
    check_bits,
    class_set_of,
    component,
    component_class_map,
    get_class_set,
    is_class_set,
    layers_of,
    overlaps,
    stray_slopes,
)
from headframe.core.errors import FormatError, UnknownNameError


def masks(rows):
    """Bits of a table of words: '' nothing, 'e' excavation, 'e+x' two, '?' unlabelled."""
    letters = dict(zip("edsoipxtma", COMPONENT_NAMES, strict=True))

    def value(word):
        return NODATA_BITS if word == "?" else bits_of(letters[c] for c in word.replace("-", ""))

    return np.array([[value(word) for word in row.split()] for row in rows], np.uint16)


def test_ten_components_in_the_order_of_the_paper():
    assert COMPONENT_NAMES == (
        "excavation", "dumping_ground", "stockpile", "settling_pond", "infrastructure",
        "preparatory_work_area", "exploitation_slope", "transportation_slope", "dam",
        "tailings_storage_facility",
    )  # fmt: skip
    assert [info.index for info in COMPONENTS] == list(range(10))
    assert len({info.color for info in COMPONENTS}) == 10
    assert bits_of(["dam", "excavation", "dam"]) == 0b1_0000_0001
    assert component_class_map().names == ("background", *COMPONENT_NAMES)


def test_class_sets_are_those_of_models_1_to_4():
    names = {name: entry.class_map.names for name, entry in CLASS_SETS.items()}
    assert names["components-1"] == ("background", "excavation", "preparatory_work_area")
    assert names["components-2"] == ("background", "dumping_ground")
    assert len(names["components-3"]) == 8
    assert names["components-4"] == ("background", "transformed_area")
    kept = [name for key in list(CLASS_SETS)[:3] for name in CLASS_SETS[key].members]
    assert sorted(kept) == sorted(COMPONENT_NAMES)  # a partition
    assert CLASS_SETS["components-4"].bits == ALL_BITS == 1023
    for name, entry in CLASS_SETS.items():
        assert class_set_of(entry.class_map.names) is entry
        assert is_class_set(name)
    assert set(ClassSetName.__args__) == set(CLASS_SETS)
    assert class_set_of(("background", "mining")) is None
    assert not is_class_set("binary")


def test_names_are_found_as_people_write_them():
    assert component("Dumping ground").name == "dumping_ground"
    assert component(" settling-POND ").name == "settling_pond"
    assert component("TSF").index == 9
    with pytest.raises(UnknownNameError, match=r"component 'excavaton'; closest: excavation"):
        component("excavaton")
    with pytest.raises(UnknownNameError, match="closest: components-"):
        get_class_set("components-5")
    assert get_class_set("components-2").members == ("dumping_ground",)


def test_targets_by_hand():
    bits = masks(["- e ed p", "ex d ? a"])
    assert build_target(bits, CLASS_SETS["components-1"]).tolist() == [[0, 1, 1, 2], [1, 0, 255, 0]]
    assert build_target(bits, CLASS_SETS["components-2"]).tolist() == [[0, 0, 1, 0], [0, 1, 255, 0]]
    assert build_target(bits, CLASS_SETS["components-3"]).tolist() == [[0, 0, 0, 0], [4, 0, 255, 7]]
    assert build_target(bits, CLASS_SETS["components-4"]).tolist() == [[0, 1, 1, 1], [1, 1, 255, 1]]
    assert build_target(bits, CLASS_SETS["components-1"]).dtype == np.uint8
    assert not overlaps(bits, CLASS_SETS["components-1"]).any()
    assert not overlaps(bits, CLASS_SETS["components-4"]).any()


def test_the_smaller_object_wins_an_overlap():
    """A dam of 3 pixels on a pond of 6, and elsewhere a dam of 6 on a pond of 2 pixels."""
    bits = masks(["a a am - m  m ", "a a am - am m ", "- - m  - am m "])
    third = CLASS_SETS["components-3"]
    assert int(overlaps(bits, third).sum()) == 4
    wanted = [[7, 7, 6, 0, 6, 6], [7, 7, 6, 0, 7, 6], [0, 0, 6, 0, 7, 6]]
    assert build_target(bits, third).tolist() == wanted
    assert build_target(bits[::-1, ::-1], third).tolist() == np.array(wanted)[::-1, ::-1].tolist()


def test_equals_go_by_the_papers_order_and_diagonals_join():
    one = CLASS_SETS["components-1"]
    assert build_target(masks(["ep"]), one).tolist() == [[1]]
    # The excavation's two pixels touch by a corner: one object of 2 against an area of 1.
    assert build_target(masks(["ep -", "- e"]), one).tolist() == [[2, 0], [0, 1]]


def test_all_ten_as_one_picture():
    bits = masks(["e e e", "e ex e", "? - d"])
    assert build_target(bits, FULL).tolist() == [[1, 1, 1], [1, 7, 1], [255, 0, 2]]


def test_layers_and_back():
    rng = np.random.default_rng(3)
    bits = rng.integers(0, ALL_BITS + 1, (7, 11)).astype(np.uint16)
    bits[2, 5] = NODATA_BITS
    layers = layers_of(bits)
    assert layers.shape == (10, 7, 11)
    assert layers.dtype == np.uint8
    assert (layers[8] == (bits >> 8 & 1))[bits != NODATA_BITS].all()
    assert (layers[:, 2, 5] == 255).all()
    assert np.array_equal(bits_of_layers(layers), bits)
    layers[:, 0, 0] = 0
    layers[4, 0, 0] = 255
    assert bits_of_layers(layers)[0, 0] == NODATA_BITS


def test_slopes_outside_excavations():
    bits = masks(["ex x t ?", "et - e -"])
    assert stray_slopes(bits, "exploitation_slope").tolist() == [[0, 1, 0, 0], [0, 0, 0, 0]]
    assert stray_slopes(bits, "transportation_slope").tolist() == [[0, 0, 1, 0], [0, 0, 0, 0]]


def test_a_raster_of_something_else_is_refused():
    check_bits(np.array([[0, ALL_BITS, NODATA_BITS]], np.uint16), source="a.tif")
    with pytest.raises(FormatError, match=r"a\.tif: value 1024 is no mask"):
        check_bits(np.array([[1024]], np.uint16), source="a.tif")
    with pytest.raises(FormatError, match="value -1 is no mask"):
        check_bits(np.array([[-1, 3]], np.int16), source="a.tif")
