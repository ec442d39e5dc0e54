import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from headframe.core.components import COMPONENT_NAMES, NODATA_BITS
from headframe.core.errors import FormatError, MissingFileError, OutputError
from headframe.io import bitmask
from headframe.io.bitmask import BitMask, bits_to_layers, layers_to_bits, read_bits, write_bits

GRID = GeoBox((13, 29), Affine(10.0, 2.5, 312_345.6, 1.5, -10.0, 7_412_331.2), "EPSG:32719")


@pytest.fixture
def bits():
    values = np.random.default_rng(1).integers(0, 1024, (13, 29)).astype(np.uint16)
    values[3:5, 7] = NODATA_BITS
    return values


def write(path, values, *, descriptions=None, tags=None, **profile):
    count, height, width = values.shape
    place = {"transform": GRID.transform, "crs": str(GRID.crs)}
    shape = {"count": count, "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(path, "w", driver="GTiff", **shape, **{**place, **profile}) as sink:
        sink.write(values)
        if descriptions:
            sink.descriptions = descriptions
        sink.update_tags(**(tags or {}))
    return path


def test_a_mask_survives_writing(tmp_path, bits):
    path = tmp_path / "labels" / "00000.tif"
    write_bits(path, BitMask(bits, GRID))
    found = read_bits(path)
    assert np.array_equal(found.values, bits)
    assert found.values.dtype == np.uint16
    assert found.geobox == GRID
    with rasterio.open(path) as source:
        assert (source.count, source.dtypes, source.nodata) == (1, ("uint16",), NODATA_BITS)
        assert source.tags()["BIT_8"] == "dam"
    write_bits(path, BitMask(bits, None))
    assert read_bits(path).geobox is None


@pytest.mark.parametrize("strip", [4, 512])
def test_there_and_back_keeps_values_grid_and_crs(tmp_path, bits, monkeypatch, strip):
    monkeypatch.setattr(bitmask, "_STRIP_PX", strip)
    write_bits(tmp_path / "bits.tif", BitMask(bits, GRID))
    bits_to_layers(tmp_path / "bits.tif", tmp_path / "layers.tif")
    with rasterio.open(tmp_path / "layers.tif") as source:
        assert source.descriptions == COMPONENT_NAMES
        assert source.dtypes == ("uint8",) * 10
        assert GeoBox.from_rio(source) == GRID
        layers = source.read()
    known = bits != NODATA_BITS
    assert (layers[9] == (bits >> 9 & 1))[known].all()
    assert (layers[:, ~known] == 255).all()
    layers_to_bits(tmp_path / "layers.tif", tmp_path / "again.tif")
    again = read_bits(tmp_path / "again.tif")
    assert np.array_equal(again.values, bits)
    assert again.geobox == GRID


def test_large_rasters_are_tiled(tmp_path):
    values = np.zeros((520, 1030), np.uint16)
    values[515, 1029] = 513
    write_bits(tmp_path / "bits.tif", BitMask(values, None))
    bits_to_layers(tmp_path / "bits.tif", tmp_path / "layers.tif")
    with rasterio.open(tmp_path / "layers.tif") as source:
        assert source.profile["tiled"]
        assert source.read()[:, 515, 1029].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]


def test_layers_are_found_by_name_in_any_order(tmp_path):
    layers = np.zeros((10, 3, 5), np.uint8)
    names = [*COMPONENT_NAMES[::-1]]
    names[0] = "TSF"
    layers[0, 1, 2] = 1  # tailings
    layers[9, 0, 4] = 1  # excavation
    path = write(tmp_path / "a.tif", layers, descriptions=names)
    layers_to_bits(path, tmp_path / "b.tif")
    bits = read_bits(tmp_path / "b.tif").values
    assert (bits[1, 2], bits[0, 4], int(bits.sum())) == (512, 1, 513)
    path = write(tmp_path / "c.tif", layers, nodata=0)
    layers_to_bits(path, tmp_path / "d.tif")
    assert read_bits(tmp_path / "d.tif").values[1, 2] == 1  # undescribed: the usual order


def test_another_nodata_number_is_unlabelled(tmp_path):
    values = np.array([[[0, 3, 900]]], np.int32)
    path = write(tmp_path / "a.tif", values, nodata=900)
    assert read_bits(path).values.tolist() == [[0, 3, NODATA_BITS]]
    layers = np.zeros((10, 1, 3), np.int16)
    layers[:, 0, 1] = -9
    path = write(tmp_path / "b.tif", layers, nodata=-9)
    layers_to_bits(path, tmp_path / "c.tif")
    assert read_bits(tmp_path / "c.tif").values.tolist() == [[0, NODATA_BITS, 0]]


def test_what_is_no_mask_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match="no such file of component labels"):
        read_bits(tmp_path / "none.tif")
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(FormatError, match=r"text\.tif: cannot be read as a GeoTIFF"):
        read_bits(tmp_path / "text.tif")
    two = write(tmp_path / "two.tif", np.zeros((2, 3, 4), np.uint16))
    with pytest.raises(FormatError, match="has 2 band"):
        bits_to_layers(two, tmp_path / "out.tif")
    floats = write(tmp_path / "float.tif", np.zeros((1, 3, 4), np.float32))
    with pytest.raises(FormatError, match="of float32"):
        read_bits(floats)
    high = write(tmp_path / "high.tif", np.full((1, 3, 4), 2000, np.uint16))
    with pytest.raises(FormatError, match=r"high\.tif: value 2000"):
        bits_to_layers(high, tmp_path / "out.tif")
    with pytest.raises(FormatError, match="value 1024 is no mask"):
        write_bits(tmp_path / "out.tif", BitMask(np.full((2, 2), 1024, np.uint16), None))
    other = write(tmp_path / "other.tif", np.zeros((1, 3, 4), np.uint16), tags={"BIT_0": "dam"})
    with pytest.raises(FormatError, match="bit 0 is 'dam', not 'excavation'"):
        read_bits(other)
    assert not (tmp_path / "out.tif").exists()


def test_what_are_no_layers_is_refused(tmp_path):
    layers = np.zeros((10, 3, 4), np.uint8)
    nine = write(tmp_path / "nine.tif", layers[:9], descriptions=COMPONENT_NAMES[:9])
    with pytest.raises(FormatError, match="missing: tailings_storage_facility"):
        layers_to_bits(nine, tmp_path / "out.tif")
    doubled = write(
        tmp_path / "eleven.tif",
        np.zeros((11, 3, 4), np.uint8),
        descriptions=(*COMPONENT_NAMES, "dam"),
    )
    with pytest.raises(FormatError, match="has 11 layers"):
        layers_to_bits(doubled, tmp_path / "out.tif")
    odd = write(tmp_path / "odd.tif", layers, descriptions=(*COMPONENT_NAMES[:9], "lake"))
    with pytest.raises(FormatError, match="unknown component 'lake'"):
        layers_to_bits(odd, tmp_path / "out.tif")
    layers[8, 2, 1] = 7
    seven = write(tmp_path / "seven.tif", layers)
    with pytest.raises(FormatError, match="layer dam holds 7"):
        layers_to_bits(seven, tmp_path / "out.tif")
    assert sorted(p.name for p in tmp_path.glob("*out*")) == []


def test_a_place_that_cannot_be_written(tmp_path, bits):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_bits(tmp_path / "file" / "bits.tif", BitMask(bits, GRID))


def test_a_file_cut_short_is_the_inputs_fault(tmp_path):
    values = np.random.default_rng(4).integers(0, 1024, (600, 600)).astype(np.uint16)
    write_bits(tmp_path / "bits.tif", BitMask(values, None))
    whole = (tmp_path / "bits.tif").read_bytes()
    (tmp_path / "short.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match=r"short\.tif: cannot be read"):
        bits_to_layers(tmp_path / "short.tif", tmp_path / "out.tif")
    assert not (tmp_path / "out.tif").exists()
