"""Facts about study files: defaults, and what is refused before anything is read."""

import json

import pytest
from minimal_studies import PARTS

from scalecheck.errors import StudyError
from scalecheck.study import schema
from scalecheck.study.read_study import build, read_yaml, select
from scalecheck.study.settings import parse_sections, read_settings, write_settings

# ---- defaults

# What null stands for depends on other keys.
DECIDED = {"increments.warm": True}


def test_defaults_are_those_of_the_schema(folder):
    study = build({"study": "a", **PARTS}, "a.yaml")
    settings = json.loads(study.sections())
    for name, part in schema.keys().items():
        section, _, key = name.partition(".")
        if "default" in part and part.get("type") != "object":
            value = settings[section][key] if key else settings[section]
            assert value == DECIDED.get(name, part["default"]), name


@pytest.mark.parametrize(
    ("sampler", "warm"),
    [
        ({}, True),
        ({"engine": "numpyro"}, False),
        ({"metric": "dense"}, False),
        ({"start": "previous"}, False),
    ],
)
def test_increments_start_warm_where_they_can(folder, sampler, warm):
    study = build({"study": "a", **PARTS, "sampler": sampler}, "a.yaml")
    assert study.increments.warm is warm
    cold = build({"study": "a", **PARTS, "increments": {"warm": False}}, "a.yaml")
    assert not cold.increments.warm


@pytest.mark.parametrize("given", [{}, {"subsets": None}, {"subsets": {}}])
def test_an_empty_section_is_all_defaults(folder, given):
    study = build({"study": "a", **PARTS, **given}, "a.yaml")
    assert (study.subsets.count, study.subsets.size, study.subsets.levels) == (8, 1000, 8)


def test_defaults_of_one_study_are_not_shared_with_another(folder):
    first = build({"study": "a", **PARTS}, "a.yaml")
    first.model.arguments["y"] = "other"
    assert build({"study": "b", **PARTS}, "b.yaml").model.arguments == {}


def test_the_default_study_of_the_checkout_is_valid(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    studies = select(read_yaml("config/config.yaml"), ["config/config.yaml"])
    assert list(studies) == ["golf"]


def test_files_are_found_from_the_working_directory_then_beside_the_study_file(folder):
    study = build({"study": "a", **PARTS}, "a.yaml")
    assert study.data.file == "data.csv"
    beside = folder / "elsewhere" / "data.csv"
    beside.parent.mkdir()
    beside.write_text("y\n1\n")
    (folder / "data.csv").unlink()
    assert build({"study": "a", **PARTS}, "elsewhere/a.yaml").data.file == "elsewhere/data.csv"


def test_a_data_file_that_a_program_makes_need_not_be_there_yet(folder):
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "make.py").write_text("")
    data = PARTS["data"] | {"file": "./made.csv", "made_by": "make.py"}
    study = build({"study": "a", **PARTS, "data": data}, "elsewhere/a.yaml")
    assert study.data.file == "made.csv"
    assert study.data.made_by == "elsewhere/make.py"


# ---- what is refused


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"subset": {}}, "unknown key subset, did you mean subsets?"),
        ({"subsets": {"sizes": 5}}, "unknown key subsets.sizes, did you mean size?"),
        ({"zzz": 1}, "unknown key zzz"),
        ({"data": {"file": "data.csv"}}, "the key data.outcome is missing"),
        ({"model": None}, "the key model.file is missing"),
        ({"subsets": {"size": "5"}}, 'subsets.size must be of type integer, got "5"'),
        ({"subsets": {"size": 5.0}}, "subsets.size must be of type integer, got 5.0"),
        ({"subsets": {"size": True}}, "subsets.size must be of type integer, got true"),
        ({"subsets": {"size": -5}}, "subsets.size must be at least 1, got -5"),
        ({"subsets": {"count": -1}}, "subsets.count must be at least 0, got -1"),
        ({"increments": {"start": 0}}, "increments.start must be at least 1, got 0"),
        ({"increments": {"factor": 1}}, "increments.factor must be greater than 1, got 1"),
        (
            {"increments": {"factor": float("inf")}},
            "increments.factor must be of type number, got Infinity",
        ),
        ({"increments": {"end": -3}}, "increments.end is not what it should be"),
        ({"verdict": {"alpha": float("nan")}}, "verdict.alpha must be of type number, got NaN"),
        ({"sampler": {"target_accept": 1.0}}, "sampler.target_accept must be less than 1, got 1.0"),
        ({"sampler": {"max_tree_depth": 21}}, "sampler.max_tree_depth must be at most 20, got 21"),
        ({"sampler": {"metric": "dens"}}, "sampler.metric is not what it should be"),
        (
            {"sampler": {"precision": "float16"}},
            "sampler.precision must be one of float32, float64, got",
        ),
        ({"sampler": {"keep": []}}, "sampler.keep must not be empty"),
        ({"data": {**PARTS["data"], "axes": "x"}}, 'data.axes must be of type list, got "x"'),
        ({"data": {**PARTS["data"], "axes": ["x", "x"]}}, "data.axes must not name anything twice"),
        (
            {"data": {**PARTS["data"], "expand": {"trials": "n"}}},
            "data.expand is not what it should be",
        ),
        ({"data": {**PARTS["data"], "unit": 3}}, "data.unit must be of type text or null, got 3"),
        (
            {"variational": {"guide": "low_rank", "batch": 50, "steps": 9000, "simulate": 0}},
            "variational is named approximation now: write approximation:"
            " {method: low_rank, batch: 50, steps: 9000, simulate: 0}",
        ),
        (
            {"approximation": "always", "variational": {"batch": None}},
            "variational is named approximation now: write approximation: {when: always, batch: null}",
        ),
        (
            {"approximation": {"when": "never"}, "variational": None},
            "variational is named approximation now: write approximation: {when: never}",
        ),
        (
            {"approximation": "always"},
            "approximation is a section now: write approximation: {when: always}",
        ),
        (
            {"approximation": "at\n\nnight"},
            "approximation is a section now: write approximation: {when: 'at night'}",
        ),
        ({"approximation": 5}, "approximation must be of type mapping, got 5"),
        (
            {"approximation": {"guide": "flow"}},
            "unknown key approximation.guide",
        ),
        (
            {"sampler": {"marginalise": "unit"}},
            'sampler.marginalise must be one of units, null, got "unit"',
        ),
        (
            {"approximation": {"when": "sometimes"}},
            'approximation.when must be one of auto, always, never, got "sometimes"',
        ),
        (
            {"approximation": {"method": "lapalce"}},
            "approximation.method must be one of auto, laplace, mean_field, low_rank, flow, got",
        ),
        (
            {"approximation": {"exact": "never"}},
            'approximation.exact must be one of auto, nuts, got "never"',
        ),
        (
            {"approximation": {"exact": "nuts", "method": "flow"}},
            'approximation.exact: nuts needs approximation.method to be laplace or auto, got "flow"',
        ),
        (
            {"approximation": {"steps": 5}},
            "approximation.steps must be at least 1000, got 5",
        ),
        ({"study": "a b"}, "study must begin with a letter or digit and hold only"),
        ({"study": 5}, "study must be of type text, got 5"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        (
            {"data": {**PARTS["data"], "file": "none.csv"}},
            "data.file must be an existing file, got none.csv",
        ),
        (
            {"model": {"file": "none.py"}},
            "model.file must be an existing file, got none.py",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_its_rule_and_value(folder, settings, words):
    with pytest.raises(StudyError) as caught:
        build({"study": "a", **PARTS, **settings}, "a.yaml")
    message = str(caught.value)
    assert message.startswith(f"a.yaml: {words}")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("study: a\nstudy: b\n", "line 2: the key study is given twice"),
        (
            "study: a\ndata:\n  file: x\n  outcome: y\n  file: z\n",
            "line 5: the key file is given twice",
        ),
        ("data: {file: x, file: y}\n", "line 1: the key file is given twice"),
        ("data: [1\n", "line 2: not valid YAML"),
        ("study: a\n\tdata: b\n", "line 2: not valid YAML"),
        ("study: 2026-02-30\n", "not valid YAML"),
        ("- study\n", "a study file must be a mapping of keys, got a list"),
        ("golf\n", "a study file must be a mapping of keys, got text"),
        ("# nothing\n", "a study file must be a mapping of keys, got an empty file"),
        ("study: a\non: 5\n", "line 2: a key must be text, got on (write 'on')"),
        ("{a: 1}: 5\n", "line 1: a key must be text"),
        ("a: *b\n", "line 1: not valid YAML"),
    ],
)
def test_what_is_no_study_file_is_refused_with_file_and_line(tmp_path, text, words):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(StudyError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}: {words}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("content", "words"), [(None, "No such file"), (b"\xff\xfe:", "UTF-8")])
def test_a_study_file_that_cannot_be_read_is_named(tmp_path, content, words):
    path = tmp_path / "study.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StudyError, match=f"{path}: cannot be read: .*{words}"):
        read_yaml(path)


def test_yaml_merge_keys_work(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("a: &base {x: 1, y: 2}\nb:\n  <<: *base\n  y: 3\n")
    assert read_yaml(path)["b"] == {"x": 1, "y": 3}


# ---- what rules receive


def test_sections_are_equal_for_equal_settings_in_any_spelling(folder):
    subsets, increments = {"size": 5, "count": 2}, {"factor": 2}
    one = build({"study": "a", **PARTS, "subsets": subsets, "increments": increments}, "a.yaml")
    subsets, increments = {"count": 2, "size": 5}, {"factor": 2.0, "end": None}
    two = build({"increments": increments, "subsets": subsets, **PARTS, "study": "a"}, "b.yaml")
    assert one.sections() == two.sections()


def test_sections_hold_only_what_is_asked_for(folder):
    study = build({"study": "a", **PARTS}, "a.yaml")
    text = study.sections("seed", "data.outcome", "subsets.size", "subsets.levels")
    assert json.loads(text) == {
        "data": {"outcome": "y"},
        "seed": 0,
        "subsets": {"levels": 8, "size": 1000},
    }
    other = build({"study": "b", **PARTS, "subsets": {"count": 3}}, "b.yaml")
    asked = ("seed", "data", "model", "increments", "subsets.size")
    assert study.sections(*asked) == other.sections(*asked)


def test_sections_come_back_as_settings(folder):
    study = build({"study": "a", **PARTS, "sampler": {"keep": ["mu"]}}, "a.yaml")
    assert parse_sections(study.sections()) == study
    part = parse_sections(study.sections("increments", "data.outcome"))
    assert (part.increments, part.data.outcome) == (study.increments, "y")


def test_what_a_rule_does_not_pass_is_said(folder):
    study = build({"study": "a", **PARTS}, "a.yaml")
    part = parse_sections(study.sections("increments", "data.outcome"))
    with pytest.raises(AttributeError, match="passes no sampler of Study"):
        _ = part.sampler
    with pytest.raises(AttributeError, match="passes no unit of DataSettings"):
        _ = part.data.unit


def test_settings_travel_in_a_file_that_is_written_where_they_change(folder, tmp_path):
    path, study = tmp_path / "settings.json", build({"study": "a", **PARTS}, "a.yaml")
    write_settings(path, study)
    before = path.stat().st_mtime_ns
    write_settings(path, study)
    assert path.stat().st_mtime_ns == before
    assert read_settings(path) == study
    other = build({"study": "a", **PARTS, "seed": 3}, "a.yaml")
    write_settings(path, other)
    assert read_settings(path, other.digest("seed", "data")) == other


def test_settings_of_another_run_are_refused_where_they_differ(folder, tmp_path):
    path, study = tmp_path / "settings.json", build({"study": "a", **PARTS}, "a.yaml")
    write_settings(path, build({"study": "a", **PARTS, "seed": 3}, "a.yaml"))
    assert read_settings(path, study.digest("data", "subsets.size")).seed == 3
    for names in (("seed",), ("data", "seed"), ()):
        naps = []
        with pytest.raises(StudyError, match="settings.json: holds the settings of another run"):
            read_settings(path, study.digest(*names), sleep=naps.append)
        assert 60 < sum(naps) < 90


def test_settings_that_a_node_sees_late_are_read_again_and_no_others(folder, tmp_path):
    path, study = tmp_path / "settings.json", build({"study": "a", **PARTS}, "a.yaml")
    other = build({"study": "a", **PARTS, "seed": 3}, "a.yaml")
    write_settings(path, other)
    naps = []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 2:
            write_settings(path, study)

    assert read_settings(path, other.digest(), sleep=nap) == other
    assert not naps
    assert read_settings(path, study.digest("seed"), sleep=nap) == study
    assert len(naps) == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot be read: No such file or directory: claim_studies"),
        ("{", "damaged: run again"),
        ("[]", "damaged: run again"),
        ('{"seed": 1}', "damaged: run again"),
    ],
)
def test_settings_that_are_missing_or_none_are_refused(tmp_path, content, expected):
    path = tmp_path / "settings.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(StudyError, match=f"settings.json: {expected}"):
        read_settings(path, "data:0", sleep=lambda seconds: pytest.fail("waited"))
