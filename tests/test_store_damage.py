"""A flipped bit among the values of data.nc is found where a fit reads it, and other rows are read."""

import netCDF4
import numpy as np
import pytest
from stores import write
from tables import table_of

from scalecheck.data import store
from scalecheck.errors import StudyError
from scalecheck.files import kept
from scalecheck.study.plan import Slice

N_ROWS = 3 * store._CHUNK


@pytest.fixture
def written(tmp_path):
    """A store of three chunks of rows, and the column y as it arrived."""
    y = np.random.default_rng(1).normal(size=N_ROWS)
    path = tmp_path / "data.nc"
    write(path, table_of(y=y, site=np.arange(N_ROWS) % 3), "site", unit="site")
    return path, store.read_rows(path, [Slice("arrival", 0, N_ROWS)], ["y"])["y"]


def flip(path, before):
    """Flip the lowest bit of what follows these bytes."""
    content = bytearray(path.read_bytes())
    content[content.index(before) + len(before)] ^= 1
    path.write_bytes(content)


def test_a_flipped_bit_of_a_value_is_said_where_it_is_read(written):
    path, y = written
    flip(path, y[5:10].tobytes())
    with pytest.raises(StudyError) as caught:
        store.read_rows(path, [Slice("arrival", 100, 150)], ["site", "y"])
    assert str(caught.value) == (
        f"{path}: damaged (column y, order arrival, rows 100 to 150: NetCDF: HDF error): delete it and run again"
    )
    # What does not share its checksum is still read: the fits that read it go on.
    rest = store.read_rows(path, [Slice("arrival", store._CHUNK, N_ROWS)], ["y"])["y"]
    np.testing.assert_array_equal(rest, y[store._CHUNK :])


def test_every_variable_of_every_order_has_checksums(written):
    path, _ = written
    found = 0
    with netCDF4.Dataset(path) as file:
        groups = [file]
        while groups:
            group = groups.pop()
            groups += group.groups.values()
            found += len(group.variables)
            assert all(each.filters()["fletcher32"] for each in group.variables.values())
    assert (
        found == 3 * 4 + 3
    )  # y, site, row and observation in three orders, and where units end in each


@pytest.mark.parametrize("n_labels", [10, 100_000])  # of 64 kB and more HDF5 has no checksum
def test_a_flipped_bit_of_what_the_store_knows_besides_is_said(tmp_path, n_labels):
    path = tmp_path / "data.nc"
    write(path, table_of(y=[f"patient {number}" for number in range(n_labels)]))
    flip(path, b"patient ")
    with pytest.raises(StudyError, match=r"^\S+data.nc: damaged \(.*\): delete it and run again$"):
        store.read_meta(path)


@pytest.mark.parametrize("read", [store.read_meta, store.read_orders])
def test_what_is_no_store_is_said(tmp_path, read):
    path = tmp_path / "data.nc"
    path.write_bytes(b"\x89HDF\r\n\x1a\n and then nothing")
    with pytest.raises(StudyError, match=r"^\S+data.nc: damaged \(.*\): delete it and run again$"):
        read(path)


def test_a_truncated_store_is_said(written):
    path, _ = written
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StudyError, match=r"^\S+data.nc: damaged \(.*\): delete it and run again$"):
        store.read_meta(path)


def test_a_damaged_store_is_kept_no_longer_so_that_it_is_made_again(written):
    path, y = written
    known = path.with_name("data.identity.json")
    kept.keep(known, "identity", [path])
    flip(path, y[5:10].tobytes())
    with pytest.raises(StudyError, match="delete it and run again"):
        store.read_rows(path, [Slice("arrival", 100, 150)], ["y"])
    path.unlink()
    assert not kept.give_back(known, "identity", [path])
