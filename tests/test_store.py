"""Facts about the store: what is written comes back, each row for itself, whatever the columns are called."""

import dataclasses
import weakref

import netCDF4
import numpy as np
import pytest
from stores import content, write
from tables import table_of

from scalecheck.data import orders, store
from scalecheck.data.table import RESERVED, Column, Table
from scalecheck.study.plan import Slice


@pytest.mark.parametrize(
    "values",
    [
        np.array([0, 1, 255]),
        np.array([-1, 200]),
        np.array([-1, 2**40]),
        np.array([-5, 2**62 + 1]),
        np.array([0.1, 0.2]),
        np.array([0.5, -1024.0]),
        np.array([1e300, 1e-300]),
        np.array([1e8 + 0.25, 1e8]),
    ],
)
def test_values_come_back_exactly(tmp_path, values):
    write(tmp_path / "data.nc", table_of(x=values))
    every = [Slice("arrival", 0, len(values))]
    (found,) = store.read_rows(tmp_path / "data.nc", every, ["x"]).values()
    np.testing.assert_array_equal(found, values)
    assert (found.dtype.kind == "f") == (values.dtype.kind == "f")
    assert found.tolist() == values.tolist()


@pytest.mark.parametrize(
    "name", ["a/b", " x", "x ", "%", "(x)", "größe", "x\ty", "1st", "row", "a.b", "random"]
)
def test_a_column_may_have_any_name(tmp_path, name):
    values = np.array([1, 2, 3, 4])
    write(tmp_path / "data.nc", table_of(**{name: values}), name)
    parts = [Slice(f"axis/{name}", 1, 3), Slice("arrival", 0, 1)]
    np.testing.assert_array_equal(
        store.read_rows(tmp_path / "data.nc", parts, [name])[name], [2, 3, 1]
    )


def test_what_a_store_knows_besides_its_columns_is_called_as_no_column_may_be(tmp_path):
    table = table_of(site=np.arange(8) % 3)
    write(tmp_path / "data.nc", table, unit="site")
    with netCDF4.Dataset(tmp_path / "data.nc") as file:
        besides = {*file["arrival"].variables} - {store._escape("site")}
    assert besides == {store._escape(name) for name in RESERVED}


def test_what_was_dropped_is_remembered(tmp_path):
    table = dataclasses.replace(table_of(x=np.arange(3)), dropped={"x missing": 3})
    assert write(tmp_path / "data.nc", table).dropped == {"x missing": 3}


def test_a_hundred_thousand_labels_are_remembered(tmp_path):
    labels = tuple(f"patient {number}" for number in range(100_000))
    column = Column(np.arange(100_000, dtype="int32"), labels)
    table = Table("data.csv", {"patient": column}, np.arange(1, 100_001), {})
    write(tmp_path / "data.nc", table)
    assert store.read_meta(tmp_path / "data.nc").labels["patient"] == list(labels)


# ---- growth


def test_a_store_grows_linearly_with_rows(tmp_path):
    sizes = []
    for n_rows in (100_000, 200_000, 400_000):
        table = table_of(
            x=np.arange(n_rows) / 3, y=np.arange(n_rows) % 2, site=np.arange(n_rows) % 5
        )
        write(tmp_path / "data.nc", table, "site")
        sizes.append((tmp_path / "data.nc").stat().st_size)
    # Three orders of a double, two bytes, an observation and a row of four bytes each.
    assert sizes[2] - sizes[1] == pytest.approx(2 * (sizes[1] - sizes[0]), rel=0.01)
    assert sizes[2] == pytest.approx(3 * 18 * 400_000, rel=0.01)


def test_only_one_order_is_held_while_the_next_is_made(tmp_path, monkeypatch):
    written, held = [], []
    write_order, all_rows = store._write_order, orders.all_rows

    def spy(file, arranged, *given):
        written.append(weakref.ref(arranged.rows))
        write_order(file, arranged, *given)

    def begun(n_rows):
        held.append([found() is not None for found in written])
        return all_rows(n_rows)

    monkeypatch.setattr(store, "_write_order", spy)
    monkeypatch.setattr(orders, "all_rows", begun)
    write(
        tmp_path / "data.nc", table_of(site=np.arange(90) % 3, age=np.arange(90.0)), "site", "age"
    )
    assert held == [[], [False], [False, False], [False, False, False]]


def test_a_fit_reads_only_its_own_slice(tmp_path, monkeypatch):
    table = table_of(x=np.arange(5000), unused=np.arange(5000))
    write(tmp_path / "data.nc", table)
    asked = []
    read_slice = store._read_slice

    def spy(file, part, column):
        found = read_slice(file, part, column)
        asked.append((column, len(found)))
        return found

    monkeypatch.setattr(store, "_read_slice", spy)
    store.read_rows(tmp_path / "data.nc", [Slice("random", 100, 150)], ["x"])
    assert asked == [("x", 50)]


def test_an_axis_more_changes_no_row_of_the_others(tmp_path):
    table = table_of(site=np.array([0, 1] * 50), age=np.arange(100.0))
    one, two = tmp_path / "one.nc", tmp_path / "two.nc"
    write(one, table, "site")
    write(two, table, "site", "age")
    before, after = content(one), content(two)
    assert {key: after[key] for key in before if key != "meta"} == {
        key: part for key, part in before.items() if key != "meta"
    }
