from dataclasses import replace

import pytest

from headframe.core.errors import DatasetError
from headframe.datasets.provenance import (
    POLYGONS_NAME,
    PolygonRecord,
    count_provenance,
    read_provenance,
    told,
    write_provenance,
)

DRAWN = PolygonRecord(
    "", "manual", "río, alto", 'the "pit"', 1.25, -63.5, -9.25, None, "", "", "mines.kml"
)
ACCEPTED = replace(
    DRAWN, id="a-1", provenance="automatic", score=0.0, model="m", sam="litemedsam", source="r.gpkg"
)


def test_what_is_written_is_read(tmp_path):
    assert read_provenance(tmp_path) is None
    write_provenance(tmp_path, [DRAWN, ACCEPTED])
    found = read_provenance(tmp_path)
    assert found == (DRAWN, ACCEPTED)  # a score of 0 is not "no score"
    assert count_provenance(found) == {"manual": 1, "assisted": 0, "automatic": 1}
    assert told(count_provenance(found)) == "1 manual, 0 assisted, 1 automatic"
    write_provenance(tmp_path, [])
    assert read_provenance(tmp_path) == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("provenance,", "origin,", "has no column provenance"),
        (",manual,", ",by hand,", "row 2 has provenance 'by hand'; it must be one of manual"),
        (",-63.5,", ",west,", "row 2: could not convert"),
        (",1.25,", ",,", "row 2: could not convert"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, old, new, message):
    write_provenance(tmp_path, [DRAWN])
    path = tmp_path / POLYGONS_NAME
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DatasetError, match=message):
        read_provenance(tmp_path)
