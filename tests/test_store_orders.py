"""Facts about the orders of a store: every fit reads the rows that it should, and nothing else decides which."""

import numpy as np
import pandas as pd
import pytest
from stores import content

from scalecheck.data import store
from scalecheck.files.layout import StudyFolder
from scalecheck.pipeline import prepare
from scalecheck.study import plan, read_study
from scalecheck.study.plan import Slice

MODEL = """
def model(x, y=None, site=None, patient=None, n_patient=1):
    ...
"""


def frame(n_rows, seed=1):
    """Make a study of patients at sites."""
    rng = np.random.default_rng(seed)
    patient = rng.integers(n_rows // 12, size=n_rows)
    return pd.DataFrame(
        {
            "y": rng.normal(size=n_rows),
            "x": np.arange(n_rows) / 3,
            "site": np.array(["north", "south", "west"])[rng.choice(3, n_rows, p=[0.6, 0.3, 0.1])],
            "patient": [f"p{number}" for number in patient],
            "age": rng.normal(50, 10, size=n_rows),
            "visit": rng.integers(5, size=n_rows),
        }
    )


class Prepared:
    """A prepared study and the table that it was made from."""

    def __init__(self, path, table, *, seed=1, count=3, unit=None, order="visit", **increments):
        path.mkdir(parents=True, exist_ok=True)
        table.to_csv(path / "data.csv", index=False)
        (path / "model.py").write_text(MODEL)
        given = {
            "study": "small",
            "seed": seed,
            "data": {
                "file": "data.csv",
                "outcome": "y",
                "order": order,
                "unit": unit,
                "axes": ["site", "age"],
            },
            "model": {"file": "model.py"},
            "subsets": {"count": count, "size": 60, "levels": 4},
            "increments": {"start": 50, **increments},
        }
        self.table = table
        self.study = read_study.build(given, str(path / "study.yaml"))
        self.folder = StudyFolder(path / "results" / "small")
        study = self.study
        self.meta = prepare.prepare(
            self.folder, study.data, study.model, study.subsets.levels, study.seed
        )
        orders = store.read_orders(self.folder.data)
        self.plan = plan.make_plan(*orders, study.subsets, study.increments)

    def rows(self, fit):
        """Rows of the table, counted from 0, that a fit reads."""
        return self.read(fit, store.OBSERVATION)[store.OBSERVATION]

    def read(self, fit, *columns):
        return store.read_rows(self.folder.data, fit.slices, columns)

    def fits(self, kind):
        return [fit for fit in self.plan if fit.kind == kind]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def by_row(path):
    return Prepared(path / "rows", frame(1500))


@pytest.fixture(scope="module")
def by_unit(path):
    return Prepared(path / "units", frame(1500), unit="patient")


@pytest.fixture(scope="module", params=["rows", "units"])
def prepared(request):
    return request.getfixturevalue("by_row" if request.param == "rows" else "by_unit")


# ---- the right rows


def test_a_slice_holds_the_values_of_its_observations(prepared):
    for fit in prepared.plan:
        names = ("y", "x", "site", "age", "patient", store.OBSERVATION, store.FILE_ROW)
        found = prepared.read(fit, *names)
        own = prepared.table.iloc[found[store.OBSERVATION]]
        np.testing.assert_array_equal(found[store.FILE_ROW], own.index + 1)
        for name in ("y", "x", "age"):
            np.testing.assert_array_equal(found[name], own[name])
        for name in ("site", "patient"):
            labels = np.array(prepared.meta.labels[name])
            np.testing.assert_array_equal(labels[found[name]], own[name])


def test_orders_are_permutations(prepared):
    n_rows = len(prepared.table)
    for order in ("arrival", "random"):
        found = store.read_rows(
            prepared.folder.data, [Slice(order, 0, n_rows)], [store.OBSERVATION]
        )
        np.testing.assert_array_equal(np.sort(found[store.OBSERVATION]), np.arange(n_rows))


def test_subsets_are_disjoint(prepared):
    rows = np.concatenate([prepared.rows(fit) for fit in prepared.fits("subset")])
    assert len(np.unique(rows)) == len(rows) >= 3 * 60


def test_increments_are_nested(prepared):
    fits = prepared.fits("increment")
    for before, after in zip(fits, fits[1:], strict=False):
        np.testing.assert_array_equal(prepared.rows(after)[: before.rows], prepared.rows(before))
        assert after.new_rows == after.rows - before.rows


def test_increments_take_what_arrives_first(by_row):
    visit = by_row.table.visit.to_numpy()
    for fit in by_row.fits("increment"):
        np.testing.assert_array_equal(visit[by_row.rows(fit)], np.sort(visit)[: fit.rows])


def test_a_level_holds_rows_of_that_level_alone(prepared):
    for fit in prepared.fits("level"):
        own = prepared.table.iloc[prepared.rows(fit)]
        if fit.axis == "site":
            assert set(own.site) == {fit.level}
        else:
            low, high = map(float, fit.level.split(" to "))
            rounding = 0.005  # of four digits, for ages from 10 to 99
            assert own.age.between(low - rounding, high + rounding).all()


def test_levels_of_an_axis_are_disjoint(prepared):
    levels = prepared.fits("level")
    assert levels
    for axis in {fit.axis for fit in levels}:
        rows = np.concatenate([prepared.rows(fit) for fit in levels if fit.axis == axis])
        assert len(np.unique(rows)) == len(rows)


def test_units_are_whole_in_subsets_and_increments(by_unit):
    sizes = by_unit.table.groupby("patient").size()
    for fit in [*by_unit.fits("subset"), *by_unit.fits("increment")]:
        own = by_unit.table.iloc[by_unit.rows(fit)].groupby("patient").size()
        pd.testing.assert_series_equal(own, sizes[own.index])


def test_a_level_takes_all_rows_that_a_unit_has_within_it(by_unit):
    sizes = by_unit.table.groupby(["site", "patient"]).size()
    for fit in by_unit.fits("level"):
        if fit.axis == "site":
            own = by_unit.table.iloc[by_unit.rows(fit)].groupby(["site", "patient"]).size()
            pd.testing.assert_series_equal(own, sizes[own.index])


# ---- what decides


def test_the_same_seed_gives_the_same_store(path, prepared):
    unit = prepared.study.data.unit
    again = Prepared(path / "rows" if unit is None else path / "units", prepared.table, unit=unit)
    assert content(again.folder.data) == content(prepared.folder.data)
    assert again.plan == prepared.plan


def test_another_seed_gives_other_subsets_levels_and_ties(path, prepared):
    unit = prepared.study.data.unit
    other = Prepared(path / f"seed-{unit}", prepared.table, unit=unit, seed=2)
    for fit, same in zip(prepared.plan, other.plan, strict=True):
        one, two = prepared.rows(fit), other.rows(same)
        assert len(one) != len(two) or (one != two).any()
        if fit.kind == "subset":
            assert len(np.intersect1d(one, two)) < 0.5 * len(one)


def test_a_changed_count_of_subsets_changes_no_other_row(path, prepared):
    unit = prepared.study.data.unit
    other = Prepared(path / f"count-{unit}", prepared.table, unit=unit, count=5)
    same = content(other.folder.data)
    assert {key: part for key, part in same.items() if key != "meta"} == {
        key: part for key, part in content(prepared.folder.data).items() if key != "meta"
    }
    assert [fit for fit in other.plan if fit.kind != "subset"] == [
        fit for fit in prepared.plan if fit.kind != "subset"
    ]
    assert other.fits("subset")[:3] == prepared.fits("subset")


def test_meta_comes_back(prepared):
    assert store.read_meta(prepared.folder.data) == prepared.meta
    assert prepared.meta.n_rows == 1500
    assert prepared.meta.labels["y"] is None
    assert prepared.meta.labels["site"] == ["north", "south", "west"]
    assert prepared.meta.axes["site"]["labels"] == ["north", "south", "west"]
    assert sum(prepared.meta.axes["age"]["rows"]) == 1500


def test_the_whole_of_golf_is_prepared(tmp_path, request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    file = "config/studies/golf/study.yaml"
    study = read_study.build(read_study.read_yaml(file), file)
    folder = StudyFolder(tmp_path / "golf")
    meta = prepare.prepare(folder, study.data, study.model, study.subsets.levels, study.seed)
    counts = pd.read_csv(study.data.file)
    assert meta.n_rows == counts.attempts.sum() == 1_259_184
    assert meta.dropped == {}
    assert meta.axes["source"]["labels"] == ["berry1995", "broadie2018"]
    assert len(meta.axes["distance_ft"]["labels"]) == 8
    # What stands in the store are the counts of the file.
    every = [Slice("random", 0, meta.n_rows)]
    rows = store.read_rows(folder.data, every, ["distance_ft", "holed", "source"])
    made = np.bincount(rows["source"], weights=rows["holed"])
    np.testing.assert_array_equal(made, counts.groupby("source").made.sum())
    assert folder.data.stat().st_size < 100e6
    first = store.read_rows(folder.data, [Slice("arrival", 0, 5988)], ["source"])["source"]
    assert not first.any()  # 1995 arrives before 2018
    shuffled = store.read_rows(folder.data, [Slice("arrival", 0, 500)], ["distance_ft"])
    assert len(np.unique(shuffled["distance_ft"])) == 19  # ties are shuffled
