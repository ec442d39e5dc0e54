"""Change of real mines: bare ground at two dates, as given and on another grid."""

import numpy as np
import pytest
import rasterio
from rasterio.warp import Resampling, calculate_default_transform, reproject

from headframe.monitor.change import compare
from headframe.monitor.options import Dated


def bare_ground(source, path):
    """Draw what has a bare-soil index above 0 and little vegetation as class 1."""
    with rasterio.open(source) as file:
        blue, red, nir, swir = file.read([1, 2, 3, 4]).astype(np.float64) / 65535
        valid = file.read(6) > 0
        profile = {**file.profile, "count": 1, "dtype": "uint8", "nodata": 255}
    total = (swir + red) + (nir + blue)
    index = ((swir + red) - (nir + blue)) / np.maximum(total, 1e-6)
    green = (nir - red) / np.maximum(nir + red, 1e-6)
    classes = np.where(valid, (index > 0) & (green < 0.25), 255).astype(np.uint8)
    profile = {
        k: profile[k]
        for k in ("driver", "count", "dtype", "nodata", "width", "height", "crs", "transform")
    }
    with rasterio.open(path, "w", **profile) as file:
        file.write(classes, 1)
    return str(path)


@pytest.mark.realdata
@pytest.mark.parametrize("mine", ["mine_0", "mine_1"])
def test_another_grid_changes_no_area_by_much(shared_data, tmp_path, mine):
    dates = sorted((shared_data / "mine-timeseries" / mine).glob("*-0[23]-*.tif"))
    before = bare_ground(dates[0], tmp_path / "before.tif")
    after = bare_ground(dates[-1], tmp_path / "after.tif")
    same = compare(Dated(before), Dated(after), out=tmp_path / "same").rows[0]
    with rasterio.open(after) as file:
        transform, width, height = calculate_default_transform(
            file.crs, "EPSG:32644", file.width, file.height, *file.bounds, resolution=5
        )
        profile = {**file.profile, "crs": "EPSG:32644", "transform": transform}
        profile |= {"width": width, "height": height}
        values = np.full((height, width), 255, np.uint8)
        reproject(
            rasterio.band(file, 1), values, dst_transform=transform, dst_crs="EPSG:32644",
            resampling=Resampling.nearest, dst_nodata=255, init_dest_nodata=True,
        )  # fmt: skip
    with rasterio.open(tmp_path / "utm.tif", "w", **profile) as file:
        file.write(values, 1)
    other = compare(Dated(before), Dated(str(tmp_path / "utm.tif")), out=tmp_path / "utm").rows[0]
    assert same["compared_ha"] > 5
    assert other["compared_ha"] == pytest.approx(same["compared_ha"], rel=0.02)
    for name in ("before", "after", "stable"):
        assert abs(other[f"{name}_ha"] - same[f"{name}_ha"]) <= max(0.3, same[f"{name}_pm_ha"])
    assert same["before_ha"] == pytest.approx(same["stable_ha"] + same["contraction_ha"], abs=1e-3)
