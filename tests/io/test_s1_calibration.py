import numpy as np
import pytest

from headframe.core.errors import FormatError, UnsafeFileError
from headframe.io.s1_calibration import find_calibration, parse_calibration
from headframe.io.stac_read import StacItem

VECTOR = (
    "<calibrationVector><line>{}</line><pixel>{}</pixel><sigmaNought>{}</sigmaNought>"
    "</calibrationVector>"
)


def table(*vectors, prolog=""):
    rows = "".join(VECTOR.format(*vector) for vector in vectors)
    return (
        f"{prolog}<calibration><calibrationVectorList>{rows}</calibrationVectorList></calibration>"
    )


TABLE = table((0, "0 10 20", "100 110 120"), (40, "0 20", "200 240"))


def test_gains_are_interpolated_along_lines_and_pixels():
    calibration = parse_calibration(TABLE, source="t.xml")
    numbers = np.array([[220, 0], [150, 150]], np.uint16)
    power = calibration.sigma0(numbers, row=20, col=10)
    # At line 20, half-way, pixel 10: A = (110 + 220) / 2 = 165.
    assert power.dtype == np.float32
    assert power[0, 0] == pytest.approx((220 / 165) ** 2)
    assert np.isnan(power[0, 1])
    assert power[1, 1] == pytest.approx((150 / (165 + 110 / 40 + (10 + 20) / 20)) ** 2, rel=2e-3)


def test_the_table_of_the_polarisation_is_taken(tmp_path):
    (tmp_path / "vh.xml").write_text(TABLE)
    tables = {
        "schema-noise-vh": "none.xml",
        "schema-calibration-vv": "none.xml",
        "schema-calibration-vh": str(tmp_path / "vh.xml"),
    }
    assert find_calibration(StacItem("x", "x.json", {}, (), tables), "VH") is not None
    assert find_calibration(StacItem("x", "x.json", {}, (), {}), "VH") is None


@pytest.mark.parametrize(
    "text",
    [
        "no xml",
        "<calibration/>",
        table((0, "0 1", "1 1")),
        table((0, "0 1", "1 1"), (0, "0 1", "1 1")),
        table((0, "0 1", "1 1"), (5, "0 1", "1 0")),
        table((0, "0 1", "1 x"), (5, "0 1", "1 1")),
    ],
)
def test_what_is_no_table_is_refused(text):
    with pytest.raises(FormatError, match=r"t\.xml: is no calibration table"):
        parse_calibration(text, source="t.xml")


def test_entities_are_refused():
    prolog = '<!DOCTYPE a [<!ENTITY b "c">]>'
    with pytest.raises(UnsafeFileError, match="DTD or entities"):
        parse_calibration(table((0, "0 1", "1 1"), prolog=prolog), source="t.xml")
