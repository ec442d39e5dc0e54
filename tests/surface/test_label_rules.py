import numpy as np
import pytest

from headframe.core.errors import BandError
from headframe.surface.label_rules import cloud_of_band, cloud_of_scl, label_index, ndvi


def test_ndvi_by_hand():
    red = np.array([[1000, 0, 500, 3000]], np.uint16)
    nir = np.array([[3000, 0, 500, 1000]], np.uint16)
    assert ndvi(red, nir).tolist() == [[0.5, 0.0, 0.0, -0.5]]  # unsigned does not wrap


def test_ndvi_is_zero_without_data():
    red, nir = np.array([[np.nan, 1.0, 1.0]]), np.array([[1.0, 9.0, 9.0]])
    valid = np.array([[True, True, False]])
    assert ndvi(red, nir, valid=valid).tolist() == [[0.0, 0.8, 0.0]]


def test_label_priorities():
    inside = np.array([[True, True, True, True, False, False]])
    index = np.array([[0.5, 0.5000001, 0.9, 0.1, 0.9, 0.0]])
    cloud = np.array([[False, False, True, True, True, False]])
    assert label_index(inside, ndvi=index, cloud=cloud).tolist() == [[2, 0, 1, 1, 1, 0]]
    assert label_index(inside).tolist() == [[2, 2, 2, 2, 0, 0]]


def test_cloud_band_holds_zero_and_one_only():
    band = np.array([[0, 1, 2]], np.int16)
    with pytest.raises(BandError, match=r"x\.tif: cloud band holds 2, .*--cloud-threshold"):
        cloud_of_band(band, nodata=None, threshold=None, source="x.tif")
    found = cloud_of_band(band, nodata=None, threshold=2, source="x.tif")
    assert found.tolist() == [[False, False, True]]


def test_cloud_band_takes_its_own_nodata_for_clear():
    band = np.array([[-9999, 1, 0]], np.int16)
    found = cloud_of_band(band, nodata=-9999, threshold=None, source="x.tif")
    assert found.tolist() == [[False, True, False]]
    found = cloud_of_band(np.array([[np.nan, 1.0]]), nodata=None, threshold=0.5, source="x.tif")
    assert found.tolist() == [[False, True]]


def test_a_nodata_value_of_zero_leaves_cloud_alone():
    band = np.array([[0, 1]], np.uint8)
    found = cloud_of_band(band, nodata=0, threshold=None, source="x.tif")
    assert found.tolist() == [[False, True]]


def test_scl_classes():
    scl = np.arange(12, dtype=np.uint8)[None]
    assert np.flatnonzero(cloud_of_scl(scl)).tolist() == [3, 8, 9, 10]
