import pytest
from hypothesis import given
from hypothesis import strategies as st

from headframe.core.bands import identify_band, match_bands
from headframe.core.errors import BandError
from headframe.core.sensors import SENSORS, get_sensor

S2 = SENSORS["sentinel-2-l1c"]


@pytest.mark.parametrize(
    ("description", "name"),
    [
        ("B2", "B02"),
        ("B02", "B02"),
        ("b02", "B02"),
        ("BLUE", "B02"),
        ("B02 (blue)", "B02"),
        ("S2_B02_10m", "B02"),
        ("sr_red", "B04"),
        ("Band B 4", "B04"),
        ("b-8a", "B8A"),
        ("Red Edge 1", "B05"),
        ("rededge2", "B06"),
        ("vegetation red-edge 3", "B07"),
        ("Near Infrared", "B08"),
        ("Narrow NIR", "B8A"),
        ("SWIR 1", "B11"),
        ("SWIR2", "B12"),
        ("short wave infrared 1", "B11"),
        ("red edge", None),
        ("infrared", None),
        ("Band 2", None),
        ("2", None),
        ("B1 blue", None),
        ("", None),
        (None, None),
    ],
)
def test_one_description(description, name):
    band = identify_band(description, S2)
    assert (band.name if band else None) == name


def test_order_follows_what_is_wanted():
    found = match_bands(
        ("B04", "nir", None, "b2", "Green"), ("blue", "green", "red"), sensor=S2, source="a.tif"
    )
    assert found == (3, 4, 0)


@given(st.permutations([b.name for b in S2.bands]), st.permutations(["blue", "nir", "swir16"]))
def test_any_order_is_found(order, wanted):
    found = match_bands(order, wanted, sensor=S2, source="a.tif")
    assert [S2.band(order[i]).common_name for i in found] == wanted


def test_missing_band_names_file_bands_and_remedy():
    with pytest.raises(
        BandError,
        match=r"^a\.tif has 3 bands \(B02, B03, B04\) and none is known to be nir \(B08\); "
        r"the model needs blue, nir\. Name the bands in file order with --bands, "
        r"e\.g\. --bands B02,B08",
    ):
        match_bands(("B02", "B03", "B04"), ("blue", "nir"), sensor=S2, source="a.tif")


def test_order_is_never_guessed():
    with pytest.raises(BandError, match=r"3 bands \(unnamed, unnamed, unnamed\).*--bands"):
        match_bands((None, "", " "), ("blue", "green", "red"), sensor=S2, source="a.tif")


def test_doubled_band():
    with pytest.raises(BandError, match=r"bands 1, 3 all claim to be blue \(B02\).*--bands"):
        match_bands(("B2", "B3", "blue"), ("blue",), sensor=S2, source="a.tif")
    assert match_bands(("B2", "B3", "blue"), ("green",), sensor=S2, source="a.tif") == (1,)


def test_override_replaces_descriptions():
    found = match_bands(
        ("B02", "B03", "B04"),
        ("red", "blue"),
        sensor=S2,
        source="a.tif",
        override=("B04", "-", "B02"),
    )
    assert found == (0, 2)


def test_override_of_the_wrong_length():
    with pytest.raises(BandError, match=r"a\.tif has 1 band, but --bands names 2 \(B02, B03\)"):
        match_bands((None,), ("blue",), sensor=S2, source="a.tif", override=("B02", "B03"))


def test_landsat_names_differ_by_sensor():
    names = ("SR_B1", "SR_B2", "SR_B3", "SR_B4")
    tm, oli = SENSORS["landsat-tm"], SENSORS["landsat-oli"]
    assert match_bands(names, ("red",), sensor=tm, source="a.tif") == (2,)
    assert match_bands(names, ("red",), sensor=oli, source="a.tif") == (3,)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("VV", "vv"),
        ("Sigma0_VH", "vh"),
        ("vv_vh", "vv_vh"),
        ("VV/VH", "vv_vh"),
        ("VV/(10*VH)", "vv_vh"),
        ("VV / (10 VH)", "vv_vh"),
        ("VV/(10\u00b7VH)", "vv_vh"),
        ("VV-VH ratio", "vv_vh"),
        ("VV, VH", None),
        ("band3", None),
    ],
)
def test_the_ratio_of_polarisations_is_told_from_the_polarisations(text, name):
    band = identify_band(text, get_sensor("sentinel-2-l2a+sentinel-1-grd"))
    assert (band and band.common_name) == name
