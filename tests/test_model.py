"""A user's model bound by argument name, and its data arranged as it takes them."""

import textwrap

import numpy as np
import pytest

from scalecheck.errors import StudyError
from scalecheck.model import binding
from scalecheck.model.rows import local_codes, make_rows, pad_rows
from scalecheck.study.settings import ModelSettings

LABELS = {"y": None, "x1": None, "x2": None, "group": ["a", "b", "c"], "when": None}


def settings_of(tmp_path, source, arguments=None, function="model"):
    path = tmp_path / "model.py"
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return ModelSettings(str(path), function, arguments or {}, None)


def bind(tmp_path, signature, arguments=None, outcome="y"):
    settings = settings_of(tmp_path, f"def model({signature}):\n    pass\n", arguments)
    return binding.bind(binding.load_model(settings), settings, outcome, LABELS, frozenset())


def test_arguments_are_bound_by_name_and_by_the_settings(tmp_path):
    bound = bind(
        tmp_path,
        "x, n_rows, n_group, group, when=None, width=3.0, *args, y=None, **kwargs",
        {"x": ["x1", "x2"]},
    )
    assert dict(bound.arguments) == {
        "x": binding.Argument(("x1", "x2"), matrix=True),
        "group": binding.Argument(("group",), matrix=False),
        "when": binding.Argument(("when",), matrix=False),
        "y": binding.Argument(("y",), matrix=False),
    }
    assert dict(bound.counts) == {"n_group": "group"}
    assert bound.n_rows
    assert set(bound.columns) == {"x1", "x2", "group", "when", "y"}
    assert set(bound.covariates) == {"x1", "x2", "group", "when"}


@pytest.mark.parametrize(
    ("signature", "arguments", "outcome", "words"),
    [
        ("x1, y", {"x3": "x1"}, "y", "has no argument x3, which model.arguments names"),
        ("x1, y", {}, "z", "has no argument z, which data.outcome names"),
        ("x1, holed", {"holed": "put"}, "holed", "has no column"),
        (
            "speed, y",
            {},
            "y",
            "argument speed has no column; model.arguments can name one of y, x1",
        ),
        ("n_when, y", {}, "y", "counts the levels of when, which holds numbers"),
        ("x, y", {"x": ["x1", "group"]}, "y", "argument x takes several columns"),
    ],
)
def test_what_cannot_be_bound_is_named(tmp_path, signature, arguments, outcome, words):
    with pytest.raises(StudyError, match=words):
        bind(tmp_path, signature, arguments, outcome)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nothing_of_this_name\n", "line 1: cannot be imported: ModuleNotFoundError"),
        ("\n\n1 / 0\n", "line 3: cannot be imported: ZeroDivisionError: division by zero"),
        ("def model(:\n", "cannot be imported: SyntaxError"),
        ("def modle(y): pass\n", "got model, did you mean modle?"),
        ("model = 3\n", "must be a function of this file"),
    ],
)
def test_a_file_that_is_no_model_is_refused_with_its_line(tmp_path, source, words):
    with pytest.raises(StudyError, match=words):
        binding.load_model(settings_of(tmp_path, source))


def test_a_model_may_import_what_lies_beside_it(tmp_path):
    (tmp_path / "beside_the_model.py").write_text("WIDTH = 2.0\n", encoding="utf-8")
    source = "from beside_the_model import WIDTH\ndef model(y=None):\n    return WIDTH\n"
    assert binding.load_model(settings_of(tmp_path, source))() == 2.0


VALUES = {
    "x1": np.arange(4.0),
    "x2": 10 * np.arange(4),
    "group": np.array([2, 0, 2, 2], "uint8"),
    "y": np.array([1, 0, 0, 1], "uint8"),
}


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_numbers_are_floats_codes_are_integers_and_lists_are_matrices(tmp_path, precision):
    bound = bind(tmp_path, "x, group, n_group, n_rows, y=None", {"x": ["x1", "x2"]})
    rows = make_rows(bound, VALUES, LABELS, precision=precision)
    np.testing.assert_array_equal(rows.arrays["x"], [[0, 0], [1, 10], [2, 20], [3, 30]])
    assert rows.arrays["x"].dtype == rows.arrays["y"].dtype == precision
    assert rows.arrays["group"].dtype == "int32"
    np.testing.assert_array_equal(rows.arrays["group"], [2, 0, 2, 2])
    assert rows.counts == {"n_group": 3, "n_rows": 4}
    assert rows.n_rows == 4


def test_codes_of_units_are_local_to_the_slice(tmp_path):
    bound = bind(tmp_path, "group, n_group, y=None")
    rows = make_rows(bound, VALUES, LABELS, unit="group")
    np.testing.assert_array_equal(rows.arrays["group"], [0, 1, 0, 0])
    assert rows.counts == {"n_group": 2}


def test_local_codes_number_by_first_appearance():
    local, known = local_codes(np.array([7, 3, 7, 9, 3]))
    np.testing.assert_array_equal(local, [0, 1, 0, 2, 1])
    np.testing.assert_array_equal(known, [7, 3, 9])


def test_padding_repeats_the_last_row_and_masks_it(tmp_path):
    bound = bind(tmp_path, "x, group, n_group, y=None", {"x": ["x1", "x2"]})
    arrays = pad_rows(make_rows(bound, VALUES, LABELS), 6)
    np.testing.assert_array_equal(arrays["x"][3:], [[3, 30]] * 3)
    np.testing.assert_array_equal(arrays["group"], [2, 0, 2, 2, 2, 2])
    np.testing.assert_array_equal(arrays["row_mask"], [True] * 4 + [False] * 2)
