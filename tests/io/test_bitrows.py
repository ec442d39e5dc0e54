import errno

import numpy as np
import pytest

from headframe.core.errors import OutputError
from headframe.io.bitrows import ArrayRows, FileRows


def test_a_file_holds_what_an_array_holds(tmp_path):
    bits = np.arange(7 * 5, dtype=np.uint16).reshape(7, 5)
    in_memory = ArrayRows(bits.copy(), [3])
    assert list(in_memory.cuts) == [0, 3, 7]
    with FileRows(tmp_path / "x.bits", (7, 5), (0, 3, 7)) as rows:
        rows.write(0, bits[:3])
        rows.write(3, bits[3:])
        for kept in (rows, in_memory):
            part = kept.read(2, 5)
            np.testing.assert_array_equal(part, bits[2:5])
            part[:] = 0  # a copy
            kept.write(4, np.full((2, 5), 9, dtype=np.uint16)[:, ::-1])
            np.testing.assert_array_equal(kept.read(3, 7)[:, 0], [15, 9, 9, 30])
    assert not (tmp_path / "x.bits").exists()


def test_rows_never_written(tmp_path):
    with (
        FileRows(tmp_path / "x.bits", (4, 5), (0, 4)) as rows,
        pytest.raises(EOFError, match="rows 0 to 2 were never written"),
    ):
        rows.read(0, 2)


def test_a_place_that_cannot_be_written(tmp_path):
    with (
        pytest.raises(OutputError, match=r"nowhere/x\.bits: cannot be written"),
        FileRows(tmp_path / "nowhere" / "x.bits", (1, 1), (0, 1)),
    ):
        pass


def test_a_full_disk(tmp_path, monkeypatch):
    class Full:
        def seek(self, place):
            return place

        def write(self, view):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            pass

    with FileRows(tmp_path / "x.bits", (1, 2), (0, 1)) as rows:
        rows._file.close()
        rows._file = Full()
        with pytest.raises(OutputError, match=r"No space left on device.*Free some space"):
            rows.write(0, np.zeros((1, 2), dtype=np.uint16))
