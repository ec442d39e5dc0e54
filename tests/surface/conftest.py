import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine


@pytest.fixture
def write_chip():
    """Writes (C, H, W) as a GeoTIFF in UTM 33S by default: metric, south of the equator."""

    def write(path, values, *, transform, crs="EPSG:32733", nodata=None, descriptions=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        count, height, width = values.shape
        with rasterio.open(
            path, "w", driver="GTiff", dtype=values.dtype.name, count=count, height=height,
            width=width, crs=crs, transform=transform, nodata=nodata,
        ) as dataset:  # fmt: skip
            dataset.write(values)
            if descriptions:
                dataset.descriptions = descriptions
        return path

    return write


@pytest.fixture
def utm_grid():
    """30 m pixels, not square, slightly turned: neither flips nor axis swaps go unseen."""
    return Affine(30.0, 2.0, 500_215.0, 1.5, -30.0, 8_900_475.0)


@pytest.fixture
def landsat_chip():
    """An 8-band chip (8, 57, 83) with every border case of the NDVI and of the cloud band."""
    rng = np.random.default_rng(5)
    values = rng.integers(1, 9000, (8, 57, 83), dtype=np.int16)
    values[7] = rng.random((57, 83)) < 0.2
    values[2, 10:30, ::3] = 1000  # red
    values[3, 10:30, ::3] = 3000  # NDVI exactly 0.5: stays
    values[3, 10:30, 1::3] = 3001
    values[2, 10:30, 1::3] = 1000  # a hair above: goes
    values[2:4, 30:40] = 0  # zero denominator
    values[2, 40:44], values[3, 40:44] = -700, 700  # zero denominator with values
    return values
