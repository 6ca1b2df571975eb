"""Facts about the spool: it gives back what was appended, and nothing of it is left."""

import numpy as np
import pytest

from scalecheck.data import disk_columns
from scalecheck.data.disk_columns import ColumnFolder, column_folder
from scalecheck.errors import StudyError


def test_a_spool_gives_back_what_was_appended(tmp_path):
    growing = ColumnFolder(tmp_path).column()
    growing.append(np.array([1, 2], "int8"))
    growing.append(np.array([0.5]))
    growing.append(np.array([7], "int64"))
    found = growing.end()
    assert (len(found), found.dtype) == (4, "float64")
    np.testing.assert_array_equal(found, [1, 2, 0.5, 7])
    np.testing.assert_array_equal(found[1:3], [2, 0.5])
    np.testing.assert_array_equal(found[3:99], [7])


def test_an_empty_spool_gives_nothing(tmp_path):
    assert len(ColumnFolder(tmp_path).column().end()[:]) == 0


def test_a_spool_is_gone_after_its_use_whatever_a_killed_one_left(tmp_path):
    folder = tmp_path / ".spool"
    folder.mkdir()
    (folder / "1.raw").write_bytes(b"left")
    with column_folder(folder) as spooled:
        column = spooled.column()
        column.append(np.arange(3))
        np.testing.assert_array_equal(column.end(), [0, 1, 2])
    assert not folder.exists()
    with pytest.raises(StudyError), column_folder(folder) as spooled:
        spooled.column().append(np.arange(3))
        raise StudyError("refused")
    assert not folder.exists()


@pytest.mark.parametrize("left", ["a link", "a link to nothing", "a file"])
def test_what_lies_in_the_place_of_a_spool_is_removed_and_nothing_that_it_leads_to(tmp_path, left):
    folder, elsewhere = tmp_path / ".spool", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    if left == "a file":
        folder.touch()
    else:
        folder.symlink_to(elsewhere if left == "a link" else tmp_path / "nothing")
    with column_folder(folder) as spooled:
        spooled.column().append(np.arange(3))
    assert {path.name for path in tmp_path.rglob("*")} == {"elsewhere", "kept"}


def test_a_spool_that_cannot_be_removed_is_named(tmp_path, monkeypatch):
    folder = tmp_path / ".spool"
    folder.mkdir()

    def kept(path, ignore_errors=False):
        if not ignore_errors:
            raise OSError(39, "Directory not empty", "file.nfs")

    monkeypatch.setattr(disk_columns.shutil, "rmtree", kept)
    with pytest.raises(StudyError) as caught, column_folder(folder):
        pass
    assert str(caught.value) == (
        f"{folder}: cannot be removed: Directory not empty: remove it and run again"
    )


def test_a_full_disk_is_named_and_nothing_is_left(tmp_path, monkeypatch):
    def full(handle, values):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk_columns.os, "write", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        with column_folder(tmp_path / ".spool") as spooled:
            spooled.column().append(np.arange(3))
    assert caught.value.filename == str(tmp_path / ".spool")
    assert not (tmp_path / ".spool").exists()
