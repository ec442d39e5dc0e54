import pytest

from headframe.core.errors import BandError
from headframe.io.recognise import FileFacts, recognise, sensor_of


def facts(source="a.tif", names=("red",), **tags):
    return FileFacts(source, names, tags, item=False, named=True)


@pytest.mark.parametrize(
    ("known", "sensor"),
    [
        (facts(HEADFRAME_SENSOR="sentinel-2-l2a+sentinel-1-grd"), "sentinel-2-l2a+sentinel-1-grd"),
        (facts("S2A_MSIL1C_20200101.tif"), "sentinel-2-l1c"),
        (facts("x.SAFE/S2B_MSIL2A_2020/R20m/T33_B05_20m.jp2", ("T33_B05_20m",)), "sentinel-2-l2a"),
        (facts("C:\\data\\landsat8_20180906.tif"), "landsat-oli"),
        (facts("LC08_L2SP_003069_SR_B4.TIF"), "landsat-oli"),
        (facts("LE07_L2SP_SR_B4.TIF"), "landsat-etm"),
        (facts("lt05.tif"), "landsat-tm"),
        (facts(SPACECRAFT_ID="LANDSAT_9"), "landsat-oli"),
        (facts(platform="sentinel-1a"), "sentinel-1-grd"),
        (facts("s1a-iw-grd-x.tiff"), "sentinel-1-grd"),
        (facts(names=("VV", "VH", "band3")), "sentinel-1-grd"),
        (facts(names=("B8A", "B9", "B10")), "sentinel-2-l1c"),
        (facts(names=("B02", "B03")), "sentinel-2"),
        (facts(names=("rededge071",)), "sentinel-2"),
        (facts("S2_scene.tif"), "sentinel-2"),
        (facts("labels8.tif", ("red", None)), None),
        (facts("ls10.tif"), None),
    ],
)
def test_recognise(known, sensor):
    assert recognise(known) == sensor


def test_level_is_that_of_the_other_files():
    known = facts("S2_B05.tif", ("B05",))
    others = ["sentinel-2", "sentinel-2-l2a", "sentinel-1-grd", None]
    assert sensor_of(known, others).name == "sentinel-2-l2a"


@pytest.mark.parametrize("others", [["sentinel-2"], ["sentinel-2-l1c", "sentinel-2-l2a"]])
def test_level_that_is_not_told(others):
    with pytest.raises(BandError, match=r"S2_B05\.tif: neither.*\(B05\).*sentinel-2-l1c or sent"):
        sensor_of(facts("S2_B05.tif", ("B05",)), others)


def test_sensor_that_is_not_told():
    with pytest.raises(BandError, match=r"a\.tif: .*\(red, unnamed\).*--sensor.*planetscope"):
        sensor_of(facts(names=("red", None)), [None])
