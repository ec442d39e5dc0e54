import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from headframe.core.errors import BandError, CrsError
from headframe.core.sensors import get_sensor
from headframe.geo.window import Window
from headframe.surface.snow_cloud import SnowCloud, lacking_bands

BANDS = ("swir16", "red", "nir", "blue", "green")
L2A = get_sensor("sentinel-2-l2a")
GRID = GeoBox((4, 6), Affine(10, 0, 600_000, 0, -10, 7_800_000), "EPSG:32723")


def pixel(*, green, red, nir, swir):
    return np.array([swir, red, nir, 0.1, green], dtype=np.float32)[:, None, None]


@pytest.mark.parametrize(
    ("name", "values", "found"),
    [
        ("fresh snow", {"green": 0.8, "red": 0.79, "nir": 0.7, "swir": 0.10}, True),
        ("shaded snow", {"green": 0.12, "red": 0.11, "nir": 0.12, "swir": 0.02}, True),
        ("clear water", {"green": 0.04, "red": 0.02, "nir": 0.01, "swir": 0.005}, False),
        ("turquoise pond", {"green": 0.30, "red": 0.22, "nir": 0.05, "swir": 0.01}, False),
        ("cloud", {"green": 0.45, "red": 0.44, "nir": 0.5, "swir": 0.35}, True),
        ("grey cloud", {"green": 0.20, "red": 0.19, "nir": 0.3, "swir": 0.25}, True),
        ("bare pit", {"green": 0.20, "red": 0.26, "nir": 0.3, "swir": 0.4}, False),
        ("forest", {"green": 0.05, "red": 0.03, "nir": 0.3, "swir": 0.15}, False),
        ("black", {"green": 0.0, "red": 0.0, "nir": 0.0, "swir": 0.0}, False),
        ("no data", {"green": np.nan, "red": np.nan, "nir": np.nan, "swir": np.nan}, False),
    ],
)
def test_what_lies_there(name, values, found):
    assert SnowCloud().found(pixel(**values), BANDS).item() is found, name


def test_the_index_at_its_threshold():
    # (0.7 - 0.3) / (0.7 + 0.3) = 0.4; red above green and low brightness keep the cloud test out
    guard = SnowCloud(ndsi=0.4, bright_green=1.0)
    at = {"green": 0.7, "red": 0.8, "nir": 0.5}
    assert guard.found(pixel(swir=0.2999, **at), BANDS).item()
    assert not guard.found(pixel(swir=0.3001, **at), BANDS).item()


def test_a_white_quarry_can_be_spared():
    quarry = pixel(green=0.45, red=0.5, nir=0.55, swir=0.5)
    assert SnowCloud().found(quarry, BANDS).item()
    assert not SnowCloud(bright_green=1.0).found(quarry, BANDS).item()


def test_another_near_infrared_will_do():
    guard = SnowCloud()
    assert guard.bands(L2A, ("red", "nir08")) == ("green", "red", "nir08", "swir16")
    assert guard.bands(L2A, ("red",)) == ("green", "red", "nir", "swir16")
    assert guard.bands(get_sensor("landsat-oli"), ()) == ("green", "red", "nir08", "swir16")
    snow = pixel(green=0.8, red=0.8, nir=0.7, swir=0.1)
    assert guard.found(snow, ("swir16", "red", "nir08", "blue", "green")).item()
    with pytest.raises(BandError, match="swir16"):
        guard.bands(get_sensor("planetscope-4b"), ())


def test_what_is_lacking():
    assert lacking_bands(SnowCloud(), L2A, ("red", "green", "blue")) == (
        "the models do not read nir, swir16"
    )
    assert lacking_bands(SnowCloud(), L2A, BANDS) is None
    assert lacking_bands(SnowCloud(scl="x.tif"), L2A, ()) is None
    sensor = get_sensor("planetscope-4b")
    assert "no short-wave infrared" in lacking_bands(SnowCloud(), sensor, ("red",))


class Place:
    def __init__(self, geobox):
        self.geobox = geobox
        self.source = "scene.tif"


def test_a_scene_classification_of_20_m(tmp_path):
    values = np.array([[4, 8, 9], [11, 5, 3]], dtype=np.uint8)
    path = str(tmp_path / "scl.tif")
    with rasterio.open(
        path, "w", driver="GTiff", height=2, width=3, count=1, dtype="uint8", nodata=0,
        crs="EPSG:32723", transform=Affine(20, 0, 600_000, 0, -20, 7_800_000),
    ) as file:  # fmt: skip
        file.write(values, 1)
    pixels = np.zeros((1, 3, 5), dtype=np.float32)
    with SnowCloud(scl=path).guard(Place(GRID), ("red",)) as guard:
        found = guard(Window(1, 1, 3, 5), pixels)
    whole = np.isin(values, (3, 8, 9, 10, 11)).repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(found, whole[1:4, 1:6])
    with (
        pytest.raises(CrsError, match=r"scene\.tif, which has no CRS"),
        SnowCloud(scl=path).guard(Place(None), ("red",)),
    ):
        pass
    assert SnowCloud(scl=path).facts()["scl"][0].endswith("scl.tif")
    assert SnowCloud().facts() != SnowCloud(ndsi=0.5).facts()
