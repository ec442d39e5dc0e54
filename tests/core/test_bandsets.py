import pytest

from headframe.core.bandsets import BAND_SETS, resolve_bands
from headframe.core.errors import UnknownNameError
from headframe.core.sensors import get_sensor


def test_sizes_are_the_papers():
    sizes = {name: len(each.bands) for name, each in BAND_SETS.items()}
    assert sizes == {"rgb": 3, "r+n": 4, "r+n+s": 7, "m": 12, "m+s": 15}


def test_bands_belong_to_their_sensor():
    for each in BAND_SETS.values():
        sensor = get_sensor(each.sensor)
        assert [sensor.band(name).common_name for name in each.bands] == list(each.bands)
        assert len(set(each.bands)) == len(each.bands)


def test_m_is_in_l1c_too_and_has_no_cirrus():
    l1c = get_sensor("sentinel-2-l1c")
    names = {l1c.band(name).name for name in BAND_SETS["m"].bands}
    assert names == {band.name for band in l1c.bands} - {"B10"}


@pytest.mark.parametrize(
    ("given", "bands"),
    [
        ("R+N", ("red", "green", "blue", "nir")),
        (["rgb"], ("red", "green", "blue")),
        ("red, B08", ("red", "B08")),
        (["vv"], ("vv",)),
        (("red", "rgb"), ("red", "rgb")),
    ],
)
def test_resolve(given, bands):
    assert resolve_bands(given) == bands


def test_an_unknown_set_names_the_closest():
    with pytest.raises(UnknownNameError, match=r"unknown band set 'm\+x'; closest: m\+s"):
        resolve_bands("m+x")
