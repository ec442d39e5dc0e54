import pytest

from headframe.core.errors import BandError, UnknownNameError
from headframe.core.sensors import SENSORS, get_sensor, l2a_scaling, narrow_sensor


def test_unknown_sensor_names_the_closest():
    with pytest.raises(UnknownNameError, match=r"unknown sensor 'sentinel-2'.*sentinel-2-l2a"):
        get_sensor("sentinel-2")


@pytest.mark.parametrize("sensor", SENSORS.values(), ids=lambda s: s.name)
def test_every_spelling_names_one_band(sensor):
    spellings = [word for band in sensor.bands for word in band.spellings]
    assert len(spellings) == len(set(spellings))
    assert all(
        sensor.band(word.upper()) is band for band in sensor.bands for word in band.spellings
    )
    assert all(band.gsd_m > 0 and band.wavelength_nm > 0 for band in sensor.bands)


def test_sentinel_2_bands():
    l1c, l2a = SENSORS["sentinel-2-l1c"], SENSORS["sentinel-2-l2a"]
    assert [b.name for b in l1c.bands if b not in l2a.bands] == ["B10"]
    assert l1c.band("nir").name == "B08"
    assert l1c.band("b8a").common_name == "nir08"
    assert l1c.band("B2").gsd_m == 10
    with pytest.raises(BandError, match="Sentinel-2 L2A has no band 'B10'; it has coastal"):
        l2a.band("B10")


def test_numbering_differs_between_landsats():
    assert SENSORS["landsat-tm"].band("red").name == "B3"
    assert SENSORS["landsat-etm"].band("red").name == "B3"
    assert SENSORS["landsat-oli"].band("red").name == "B4"
    assert SENSORS["landsat-oli"].band("nir").name == "B5"
    assert SENSORS["landsat-tm"].band("nir08").name == "B4"


@pytest.mark.parametrize(
    ("baseline", "offset"),
    [
        ("03.01", 0.0),
        ("04.00", -0.1),
        ("05.10", -0.1),
        ("N0400", -0.1),
        ("0301", 0.0),
        ("0511", -0.1),
        ("2.14", 0.0),
        ("", 0.0),
        (None, 0.0),
        ("latest", 0.0),
        ("4.x", 0.0),
        ("99.99", -0.1),
    ],
)
def test_offset_follows_the_processing_baseline(baseline, offset):
    assert l2a_scaling(baseline) == (1e-4, offset)


def test_a_composite_has_the_bands_of_its_parts():
    both = get_sensor("sentinel-1-grd + sentinel-2-l2a")
    assert both.name == "sentinel-2-l2a+sentinel-1-grd"
    assert get_sensor(both.name) is both
    assert both.title == "Sentinel-2 L2A + Sentinel-1 GRD"
    assert [part.name for part in both.parts] == ["sentinel-2-l2a", "sentinel-1-grd"]
    assert len(both.bands) == 12 + 5
    assert (both.quantity, both.scale, both.offset, both.nodata) == ("mixed", 1.0, 0.0, None)


def test_each_band_of_a_composite_has_its_own_rules():
    both = get_sensor("sentinel-2-l2a+sentinel-1-grd")
    red, vh = both.part("B04"), both.part("VH")
    assert (red.quantity, red.scale, red.nodata) == ("reflectance", 1e-4, 0.0)
    assert (vh.quantity, vh.scale, vh.nodata) == ("db", 1.0, 0.0)
    with pytest.raises(BandError, match=r"has no band 'lwir'"):
        both.part("lwir")


def test_a_simple_sensor_is_its_own_part():
    simple = get_sensor("landsat-oli")
    assert simple.parts == ()
    assert simple.simple == (simple,)
    assert simple.part("nir") is simple


def test_any_light_goes_with_radar():
    part = get_sensor("sentinel-1-grd")
    assert get_sensor("sentinel-1-grd+planetscope-4b").part("hh") is part


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        ("sentinel-2-l2a+landsat-oli", BandError, "sentinel-2-l2a and landsat-oli both have the"),
        ("landsat-tm+landsat-tm", BandError, "names a sensor twice"),
        ("sentinel-2-l2a+sentinel-1", UnknownNameError, "unknown sensor 'sentinel-1'; closest"),
        ("+", UnknownNameError, "unknown sensor ''"),
    ],
)
def test_a_composite_that_cannot_be(name, error, match):
    with pytest.raises(error, match=match):
        get_sensor(name)


def test_narrowing_leaves_out_the_parts_not_needed():
    both = get_sensor("sentinel-2-l1c+sentinel-1-grd")
    assert narrow_sensor(both, ("red", "nir")).name == "sentinel-2-l1c"
    assert narrow_sensor(both, ("vv_vh",)).name == "sentinel-1-grd"
    assert narrow_sensor(both, ("red", "vv")) is both
