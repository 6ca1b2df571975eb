"""Facts about large tables: whatever is held at once, the store is the same, and little is held or read."""

import contextlib
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from tables import settings, table_of, write

from scalecheck.data import disk_columns, store
from scalecheck.data.disk_columns import ColumnWriter, DiskColumn, column_folder
from scalecheck.data.read_table import read_data
from scalecheck.data.readers import open_table
from scalecheck.errors import StudyError
from scalecheck.files.layout import StudyFolder
from scalecheck.pipeline import prepare
from scalecheck.study.plan import Slice
from scalecheck.study.settings import ModelSettings

N_ROWS, BLOCK = 600, 64
MODEL = "def model(x, y=None, rain=None, n_site=1): ..."


def frame():
    """Draw a table of numbers, labels, times, gaps and counts."""
    rng = np.random.default_rng(3)
    day = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(90, size=N_ROWS), "D")
    return pd.DataFrame(
        {
            "y": rng.normal(size=N_ROWS),
            "x": np.where(rng.random(N_ROWS) < 0.1, np.nan, rng.integers(9, size=N_ROWS)),
            "rain": rng.random(N_ROWS) < 0.5,
            "site": np.array(["a", "b", "ö"])[rng.integers(3, size=N_ROWS)],
            # New labels in every piece, and not in their order.
            "patient": [f"p{number}" for number in (np.arange(N_ROWS) * 7 % N_ROWS) // 4],
            "time": day,
            "day": day.strftime("%Y-%m-%d"),
            "when": [f"{date:%Y-%m-%d %H:%M}+0{date.day % 5}:00" for date in day],
            "age": rng.normal(50, 10, size=N_ROWS),
            "city": np.where(rng.random(N_ROWS) < 0.05, None, rng.choice(["Ulm", "Bonn"], N_ROWS)),
            "ward": pd.Categorical(rng.choice(["west", "east"], N_ROWS)),
            "dose": pd.array(np.where(day.day == 7, None, rng.integers(90, size=N_ROWS)), "Int64"),
            "n": rng.integers(4, size=N_ROWS),
            "unused": "text",
        }
    )


STUDIES = {
    "order and axes": {"order": "time", "axes": ("site", "age")},
    "units": {"order": "day", "unit": "patient", "axes": ("site", "x")},
    "gaps": {"order": "when", "unit": "dose", "axes": ("city", "ward")},
    "both": {"order": "when", "categories": ("dose", "when"), "axes": ("dose", "when")},
    "counts": {"expand": {"repeat": "n"}, "axes": ("age",), "categories": ("rain",)},
}


@pytest.fixture(params=["parquet", "nc", "csv"])
def table(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL)
    path, drawn = f"table.{request.param}", frame()
    if request.param != "nc":
        return write(path, drawn)
    # Which marks a gap among whole numbers by a value, and has no categories.
    stored = drawn.assign(ward=drawn.ward.astype(str), dose=drawn.dose.fillna(-1).astype("int64"))
    dataset = stored.rename_axis("row").to_xarray()
    dataset.to_netcdf(path, encoding={"dose": {"_FillValue": -1}})
    return path


def prepared(table, folder, **keys):
    """Prepare a study; give its store and the bytes of that."""
    data = settings(table, missing="drop", **keys)
    prepare.prepare(StudyFolder(folder), data, ModelSettings("model.py", "model", {}, None), 4, 5)
    return StudyFolder(folder).data.read_bytes()


# ---- the same store


@pytest.mark.parametrize("keys", STUDIES.values(), ids=STUDIES)
def test_a_store_is_the_same_whatever_is_held_at_once(table, monkeypatch, keys):
    found = {}
    for rows in (29, BLOCK, disk_columns.BLOCK_ROWS):
        monkeypatch.setattr(disk_columns, "BLOCK_ROWS", rows)
        found[rows] = prepared(table, Path("small"), **keys)
    assert len({*found.values()}) == 1


def test_row_groups_of_a_parquet_file_are_not_seen_in_the_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(disk_columns, "BLOCK_ROWS", BLOCK)
    Path("model.py").write_text(MODEL)
    found = set()
    for rows in (37, N_ROWS):
        frame().to_parquet("table.parquet", row_group_size=rows)
        found.add(prepared("table.parquet", Path("small"), **STUDIES["units"]))
    assert len(found) == 1


# ---- no more in memory


@pytest.mark.parametrize("keys", STUDIES.values(), ids=STUDIES)
def test_no_more_rows_are_read_or_written_than_a_block(table, monkeypatch, keys):
    monkeypatch.setattr(disk_columns, "BLOCK_ROWS", BLOCK)
    held, chosen = [], []
    append, get = ColumnWriter.append, DiskColumn.__getitem__

    @contextlib.contextmanager
    def opened(file, labelled):
        with open_table(file, labelled) as source:
            yield source._replace(pieces=lambda names: looked_at(names, source.pieces(names)))

    def looked_at(names, pieces):
        for piece in pieces:
            chosen.append(set(names) | set(piece))
            held.append(len(piece))
            yield piece

    def appended(self, values):
        held.append(len(values))
        append(self, values)

    def got(self, rows):
        found = get(self, rows)
        held.append(len(found))
        return found

    monkeypatch.setattr("scalecheck.data.read_table.open_table", opened)
    monkeypatch.setattr(ColumnWriter, "append", appended)
    monkeypatch.setattr(DiskColumn, "__getitem__", got)
    prepared(table, Path("small"), **keys)
    assert max(held) == BLOCK
    assert len(chosen) == -(-N_ROWS // BLOCK)
    assert not any("unused" in names for names in chosen)


# ---- no more from the disk


READ = Path("/proc/self/io")
on_linux = pytest.mark.skipif(not READ.exists(), reason="only Linux counts what a process reads")


def bytes_read(action):
    """Bytes that this process reads by system calls while it does something."""

    def count():
        return int(READ.read_text().split()[1])

    before = count()
    nothing = count() - before  # but the count itself
    before = count()
    action()
    return count() - before - nothing


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Stores of a hundred thousand and of a million rows."""
    folder = tmp_path_factory.mktemp("stores")
    data = settings("data.csv")
    for n_rows in (10**5, 10**6):
        values = {f"x{number}": np.arange(n_rows) / 3 for number in range(3)}
        store.write_store(folder / str(n_rows), table_of(**values), data, {}, 1)
    return folder


# To open a file the netCDF library reads its first 4 MiB; of a column it reads whole chunks.
CHUNK = 8 * store._CHUNK
OPENED = 2**22 + 3 * CHUNK + 50_000


def test_a_fit_of_500_rows_reads_the_chunks_that_they_lie_in(stores):
    def read(path, n_rows):
        parts = [Slice("random", store._CHUNK, store._CHUNK + n_rows)]
        return bytes_read(lambda: store.read_rows(path, parts, ["x0", "x1", "x2"]))

    of_many = stores / "1000000"
    found = read(of_many, 500)
    assert found < OPENED < of_many.stat().st_size / 10
    # What is read grows with the rows of the fit, and not with those of the table.
    assert found == pytest.approx(read(stores / "100000", 500), abs=10_000)
    assert found == pytest.approx(read(of_many, store._CHUNK), abs=10_000)
    more = read(of_many, 8 * store._CHUNK) - read(of_many, 4 * store._CHUNK)
    assert more == pytest.approx(3 * 4 * CHUNK, abs=10_000)


@pytest.fixture
def small_cache():
    """NetCDF files are opened with room for 8,192 numbers, unless more is asked for."""
    before = netCDF4.get_chunk_cache()
    netCDF4.set_chunk_cache(2**16)
    yield
    netCDF4.set_chunk_cache(*before)


@on_linux
@pytest.mark.usefixtures("small_cache")
def test_a_chunk_of_netcdf_is_read_once_however_many_pieces_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_columns, "BLOCK_ROWS", 2**12)
    path, n_rows = tmp_path / "table.nc", 2**18
    chunks = {"zlib": True, "chunksizes": (n_rows,)}
    values = np.random.default_rng(1).normal(size=n_rows)
    xr.Dataset({"y": ("row", values)}).to_netcdf(path, encoding={"y": chunks})
    with column_folder(tmp_path / ".spool") as spooled:
        found = bytes_read(lambda: read_data(settings(path), {"y": "asked"}, (), spooled))
    assert found < 2 * path.stat().st_size + 2**22


@on_linux
def test_a_plan_reads_no_rows(stores):
    few, many = (
        bytes_read(lambda p=p: store.read_orders(stores / p)) for p in ("100000", "1000000")
    )
    assert few == pytest.approx(many, abs=10_000)


def test_a_file_of_more_rows_than_can_be_numbered_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    pd.DataFrame({"y": [1, 2, 3]}).to_csv(path)
    monkeypatch.setattr("scalecheck.data.read_table.MOST_ROWS", 2)
    with column_folder(tmp_path / ".spool") as spooled, pytest.raises(StudyError) as caught:
        read_data(settings(path), {"y": "the model takes"}, (), spooled)
    assert str(caught.value) == f"{path}: must have at most 2 rows, got 3"


@on_linux
def test_opening_netcdf_reads_no_column(tmp_path):
    path = tmp_path / "table.nc"
    texts = np.array([f"a text that is as long as this one, {n}" for n in range(300_000)], object)
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("row", len(texts))
        file.createVariable("text", str, ("row",))[:] = texts
        file.createVariable("y", "f8", ("row",))[:] = np.arange(len(texts))

    def opened():
        with open_table(str(path), ()) as source:
            assert (source.names, source.n_rows) == (["row", "text", "y"], len(texts))

    opened()  # which imports
    assert bytes_read(opened) < path.stat().st_size / 2
