"""Facts about labels: the texts as they are written, each for itself, in the order given, of numbers or of text."""

import gzip

import numpy as np
import pandas as pd
import pytest
from tables import FORMATS, read, read_file, refusal, settings

from scalecheck.data import disk_columns
from scalecheck.errors import StudyError
from scalecheck.files.layout import StudyFolder
from scalecheck.pipeline.prepare import prepare
from scalecheck.study.settings import ModelSettings


@pytest.fixture(autouse=True, params=[2, 2**18])
def rows_at_once(request, monkeypatch):
    monkeypatch.setattr(disk_columns, "BLOCK_ROWS", request.param)


def labels(path, written, **keys):
    """Labels and codes of a column of a CSV file, of which the file has these texts."""
    text = "\n".join(["label,y", *(f"{label},1" for label in written), ""]).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return read_file(path, "y", **keys).columns["label"]


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
@pytest.mark.parametrize("keys", [{"unit": "label"}, {"categories": ("label",)}])
@pytest.mark.parametrize(
    "in_order",
    [
        ["01", "1", "1.0"],
        ["0123", "123", "0124"],
        ["1", "2", "10"],
        ["-1", "0.5", "1e3", "2e3"],
        [str(2**53), str(2**53 + 1), str(2**53 + 2)],
        ["9" * 30, "9" * 29 + "x"],
        ["1", "10", "2", "x"],
        ["False", "True"],
        ["0", "inf", "nothing"],
    ],
    ids=" ".join,
)
def test_labels_of_text_are_as_they_are_written(tmp_path, in_order, keys, ending):
    column = labels(tmp_path / f"a.{ending}", in_order[::-1], **keys)
    assert column.labels == tuple(in_order)
    np.testing.assert_array_equal(column.values, np.arange(len(in_order))[::-1])


def test_long_identifiers_beside_a_gap_stay_apart(tmp_path):
    column = labels(
        tmp_path / "a.csv", [str(2**53 + 1), "", str(2**53)], unit="label", missing="drop"
    )
    assert column.labels == (str(2**53), str(2**53 + 1))
    np.testing.assert_array_equal(column.values, [1, 0])


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
@pytest.mark.parametrize(
    "keys", [{"axes": ("label",)}, {"categories": ("label",)}, {"unit": "label"}]
)
@pytest.mark.parametrize("word", ["NA", "None", "N/A", "null", "nan", "NULL", "<NA>", "n/a"])
def test_only_an_empty_cell_of_labels_has_no_value(tmp_path, word, keys, ending):
    path = tmp_path / f"a.{ending}"
    column = labels(path, ["ZA", word, "", word, "ZA"], missing="drop", **keys)
    assert sorted(column.labels) == sorted(["ZA", word])
    assert [column.labels[code] for code in column.values] == ["ZA", word, word, "ZA"]
    with pytest.raises(StudyError, match="column label is empty in row 3 "):
        read_file(path, "y", **keys)


@pytest.mark.parametrize("keys", [{"categories": ("label",)}, {"unit": "label"}])
def test_a_column_that_is_called_labels_may_hold_numbers_beside_NA(tmp_path, keys):
    column = labels(tmp_path / "a.csv", ["2", "NA", "1"], **keys)
    assert column.labels == ("1", "2", "NA")


@pytest.mark.parametrize("keys", [{"axes": ("label",)}, {"order": "label"}])
@pytest.mark.parametrize(
    "others",
    [["1.5", "2", "3"], ["True", "False", "True"], ["2020-01-01", "2020-02-01", "2020-03"]],
)
def test_among_numbers_and_dates_NA_is_a_missing_value(tmp_path, others, keys):
    path = tmp_path / "a.csv"
    column = labels(path, ["NA", *others], missing="drop", **keys)
    assert len(column.values) == 3
    assert "NA" not in (column.labels or ())
    with pytest.raises(StudyError, match=r"column label has no value in row 1 \(holds 'NA'\)"):
        read_file(path, "y", **keys)


def test_labels_that_are_an_order_are_sorted_as_numbers(tmp_path):
    column = labels(tmp_path / "a.csv", ["10", "9", "2"], unit="label", order="label")
    np.testing.assert_array_equal(column.values, [2, 1, 0])


@pytest.mark.parametrize("kind", ["str", "category"])
def test_text_of_numbers_is_sorted_as_numbers_in_every_format(tmp_path, kind):
    frame = pd.DataFrame({"y": 1, "group": pd.Series(["10", "9", "09"], dtype=kind)})
    column = read(tmp_path / "a.parquet", frame, "y", categories=("group",)).columns["group"]
    assert column.labels == ("09", "9", "10")


def test_an_infinity_among_labels_that_are_numbers_is_one(tmp_path):
    frame = pd.DataFrame({"y": 1, "dose": [1.0, np.inf, 2.0]})
    found = refusal(tmp_path / "a.csv", frame, "y", categories=("dose",))
    assert found.startswith("column dose is infinite in row 2 (")
    column = read(tmp_path / "a.csv", frame, "y", unit="dose", missing="drop").columns["dose"]
    assert column.labels == ("1.0", "2.0")


def test_other_columns_of_a_csv_file_are_numbers_where_they_hold_numbers(tmp_path):
    column = labels(tmp_path / "a.csv", ["01", "1.0", "2"], axes=("label",))
    assert column.labels is None
    np.testing.assert_array_equal(column.values, [1, 1, 2])


# ---- in the order that the study gives

GRADES = ("low", "mid", "high")
ORDERED = {"categories": ("y", {"grade": list(GRADES)})}


@pytest.mark.parametrize("ending", FORMATS)
def test_listed_labels_have_their_places_as_codes_whether_a_row_has_them_or_not(tmp_path, ending):
    frame = pd.DataFrame({"y": [1, 2, 3], "grade": ["high", "low", "high"]})
    column = read(tmp_path / f"a.{ending}", frame, "y", **ORDERED).columns["grade"]
    assert column.labels == GRADES
    np.testing.assert_array_equal(column.values, [2, 0, 2])


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("gap", [[], [None]])
def test_listed_numbers_are_found_as_they_are_written(tmp_path, ending, gap):
    frame = pd.DataFrame({"score": pd.array([3, 1, 2, *gap], dtype="Int64")}).assign(y=1)
    keys = {"categories": ({"score": ["3", "2", "1"]},), "missing": "drop"}
    column = read(tmp_path / f"a.{ending}", frame, "y", **keys).columns["score"]
    assert column.labels == ("3", "2", "1")
    np.testing.assert_array_equal(column.values, [0, 2, 1])


def test_a_list_of_labels_goes_before_the_order_that_a_format_has(tmp_path):
    ordered = pd.Categorical(["low", "high"], categories=["high", "low"], ordered=True)
    frame = pd.DataFrame({"y": 1, "grade": ordered})
    column = read(tmp_path / "a.parquet", frame, "y", **ORDERED).columns["grade"]
    assert column.labels == GRADES


def test_rows_may_arrive_in_the_order_of_listed_labels(tmp_path):
    column = read(
        tmp_path / "a.csv",
        pd.DataFrame({"y": 1, "grade": GRADES[::-1]}),
        "y",
        order="grade",
        **ORDERED,
    ).columns["grade"]
    np.testing.assert_array_equal(column.values, [2, 1, 0])


def test_expansion_keeps_listed_labels_that_no_row_has(tmp_path):
    frame = pd.DataFrame({"y": 1, "grade": GRADES, "n": [0, 1, 2]})
    column = read(tmp_path / "a.csv", frame, "y", expand={"repeat": "n"}, **ORDERED).columns[
        "grade"
    ]
    assert column.labels == GRADES
    np.testing.assert_array_equal(column.values, [1, 2, 2])


@pytest.mark.parametrize("ending", FORMATS)
def test_a_label_that_the_list_lacks_is_refused_with_its_row(tmp_path, ending):
    frame = pd.DataFrame({"y": 1, "grade": ["low", "mid", "hihg", "worst"]})
    assert refusal(tmp_path / f"a.{ending}", frame, "y", **ORDERED) == (
        "column grade, row 3 is 'hihg', which data.categories does not list, did you mean high?"
    )


def prepared_lines(folder, frame, **data):
    """What the log of prepare says of a study of these rows."""
    path, lines = folder / "a.csv", []
    frame.to_csv(path, index=False)
    (folder / "model.py").write_text("def model(y=None): ...\n")
    model = ModelSettings(str(folder / "model.py"), "model", {"y": "grade"}, None)
    prepare(StudyFolder(folder / "results"), settings(path, **data), model, 4, 1, lines.append)
    return lines


def test_the_log_says_that_NA_is_a_label(tmp_path):
    frame = pd.DataFrame({"grade": 1.5, "country": ["ZA", "NA", "NA"]})
    assert prepared_lines(tmp_path, frame, axes=("country",)) == [
        "country: NA is a label as it is written, and no missing value"
    ]
