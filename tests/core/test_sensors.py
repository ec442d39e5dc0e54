import pytest

from headframe.core.errors import BandError, UnknownNameError
from headframe.core.sensors import SENSORS, get_sensor, l2a_scaling


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
