"""Facts about which study runs: of files, lists, modules and `--config`, none leaks into another."""

import json
import re

import pytest
import yaml
from minimal_studies import PARTS, write

from scalecheck.errors import StudyError
from scalecheck.study.read_study import read_study, select


def from_command_line(folder, *, configfiles=(), overrides=(), default=None):
    """Select as the Snakefile does, with Snakemake's own merging and reading of `--config`."""
    from snakemake.cli import parse_config
    from snakemake.common.configfile import load_configfile
    from snakemake.utils import update_config

    config, files = {}, [*configfiles]
    if default is not None:
        (folder / "config.yaml").write_text(default)
        files.append("config.yaml")  # Snakemake appends it, although it merges it first
        update_config(config, load_configfile("config.yaml"))
    for file in configfiles:
        update_config(config, load_configfile(file))
    update_config(config, parse_config(list(overrides)))
    return select(config, files)


# ---- which study runs


DEFAULT = "study_file: mine.yaml\n"


def test_the_study_file_of_the_default_configuration_runs(folder):
    write(folder / "mine.yaml", seed=5)
    studies = from_command_line(folder, default=DEFAULT)
    assert {name: study.seed for name, study in studies.items()} == {"mine": 5}


def test_a_configfile_that_is_a_study_is_the_study(folder):
    write(folder / "mine.yaml", seed=5, batches=3)
    other = write(folder / "other.yaml")
    studies = from_command_line(folder, default=DEFAULT, configfiles=[other])
    assert {name: (study.seed, study.batches) for name, study in studies.items()} == {
        "other": (0, 1)
    }


def test_two_configfiles_that_are_studies_are_refused(folder):
    files = [write(folder / "a.yaml"), write(folder / "b.yaml")]
    with pytest.raises(StudyError, match=r"b.yaml: would be merged into .*a.yaml: .*studies=\["):
        from_command_line(folder, default=DEFAULT, configfiles=files)


def test_several_studies_run_by_a_list(folder):
    a, b = write(folder / "a.yaml", seed=1), write(folder / "b.yaml", seed=2)
    studies = from_command_line(folder, default=DEFAULT, overrides=[f"studies=[{a}, {b}]"])
    assert {name: study.seed for name, study in studies.items()} == {"a": 1, "b": 2}


def test_one_study_is_read_from_its_file_or_from_the_configuration_that_names_it(folder):
    a, b = write(folder / "a.yaml", seed=1), write(folder / "b.yaml", seed=2)
    assert read_study(a).seed == 1
    for names, found in (([b], 2), ([a, b], None)):
        (folder / "several.yaml").write_text(yaml.safe_dump({"studies": list(map(str, names))}))
        if found is None:
            with pytest.raises(StudyError, match=r"several.yaml: must name one study, got a, b"):
                read_study(folder / "several.yaml")
        else:
            assert read_study(folder / "several.yaml").seed == found


def test_keys_of_a_default_study_never_leak_into_another(folder):
    default = yaml.safe_dump({"study": "golf", **PARTS, "subsets": {"count": 3}})
    other = write(folder / "other.yaml")
    with pytest.raises(StudyError, match=r"config.yaml: would be merged into .*other.yaml"):
        from_command_line(folder, default=default, configfiles=[other])


@pytest.mark.parametrize("extra", ["subsets: {count: 3}", "data: {axes: [y]}", "seed: 3"])
def test_a_key_beside_study_file_never_leaks_into_another_study(folder, extra):
    other = write(folder / "other.yaml")
    key = extra.split(":")[0]
    with pytest.raises(StudyError, match=rf"config.yaml: the key {key} would leak into .*other"):
        from_command_line(folder, default=f"{DEFAULT}{extra}\n", configfiles=[other])


def test_a_configuration_that_is_a_study_cannot_have_a_list_of_studies(folder):
    other = write(folder / "other.yaml")
    default = yaml.safe_dump({"study": "golf", **PARTS})
    with pytest.raises(StudyError, match=r"config.yaml: has the key study"):
        from_command_line(folder, default=default, overrides=[f"studies=[{other}]"])


def test_a_module_gives_its_study_as_configuration(folder):
    config = {"study": "a", "data": {**PARTS["data"], "order": "no"}, "model": PARTS["model"]}
    assert select(config, [])["a"].data.order == "no"


def test_the_data_of_a_module_may_be_made_by_another_workflow_and_its_model_may_not(folder):
    data = {**PARTS["data"], "file": "./made/rows.csv", "truth": "truth.csv"}
    config = {"study": "a", "data": data, "model": PARTS["model"]}
    found = select(config, [], may_be_made=True)["a"].data
    assert (found.file, found.truth) == ("made/rows.csv", "truth.csv")
    with pytest.raises(StudyError, match="data.file must be an existing file, got ./made/rows.csv"):
        select(config, [])
    with pytest.raises(StudyError, match="model.file must be an existing file, got none.py"):
        select({**config, "model": {"file": "none.py"}}, [], may_be_made=True)


@pytest.mark.parametrize(
    "config", [{}, {"studies": []}, {"studies": 5}, {"studies": [5]}, {"study_file": None}]
)
def test_a_configuration_without_a_study_is_refused(config):
    with pytest.raises(StudyError, match="must have the key study, study_file or studies="):
        select(config, [])


def test_studies_that_run_together_have_different_names_and_one_folder(folder):
    a = write(folder / "a.yaml")
    with pytest.raises(StudyError, match="the same name, study: a"):
        select({"studies": [a, a]}, [])
    b = write(folder / "b.yaml", results="other")
    with pytest.raises(StudyError, match="one folder.*--config results=FOLDER"):
        select({"studies": [a, b]}, [])
    assert set(select({"studies": [a, b], "results": "c"}, [])) == {"a", "b"}


# ---- overrides


@pytest.mark.parametrize("is_study", [False, True], ids=["study_file", "configfile"])
@pytest.mark.parametrize(
    ("override", "section", "values"),
    [
        ("subsets={count: 4}", "subsets", {"count": 4, "size": 70}),
        ("subsets={count: 4, size: 9}", "subsets", {"count": 4, "size": 9}),
        ("increments={factor: 1.5, end: all}", "increments", {"factor": 1.5, "end": "all"}),
        ("increments={end: null, stop: never}", "increments", {"end": None, "stop": "never"}),
        ("sampler={keep: [mu, sigma]}", "sampler", {"keep": ["mu", "sigma"]}),
        ("sampler={metric: [[mu, sigma]]}", "sampler", {"metric": [["mu", "sigma"]]}),
        ("data={order: null}", "data", {"order": None, "outcome": "y"}),
        ("data={expand: {repeat: n}}", "data", {"expand": {"repeat": "n"}}),
        ("data={unit: 2018-02}", "data", {"unit": "2018-02"}),
        ("model={compare: [mu]}", "model", {"compare": ["mu"]}),
        ("approximation={when: always}", "approximation", {"when": "always", "batch": 70}),
        (
            "approximation={method: laplace, exact: nuts, batch: null}",
            "approximation",
            {"when": "never", "method": "laplace", "exact": "nuts", "batch": None, "steps": 40000},
        ),
    ],
)
def test_config_overrides_a_part_of_a_section(folder, is_study, override, section, values):
    mine = write(
        folder / "mine.yaml",
        subsets={"size": 70},
        approximation={"when": "never", "batch": 70},
        data={**PARTS["data"], "order": "no", "axes": ["1"]},
    )
    study = from_command_line(
        folder,
        default=DEFAULT,
        configfiles=[mine] if is_study else [],
        overrides=[override],
    )["mine"]
    settings = json.loads(study.sections())[section]
    assert {key: settings[key] for key in values} == values
    assert study.data.axes == ("1",)  # text in the file stays text


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("seed=7", "seed", 7),
        ("results=elsewhere", "results", "elsewhere"),
        ("batches=2", "batches", 2),
        ("study=again", "study", "again"),
        ("remedies=auto", "remedies", "auto"),
    ],
)
@pytest.mark.parametrize("is_study", [False, True], ids=["study_file", "configfile"])
def test_config_overrides_a_flat_key(folder, is_study, override, key, value):
    mine = write(folder / "mine.yaml", seed=5)
    studies = from_command_line(
        folder,
        default=DEFAULT,
        configfiles=[mine] if is_study else [],
        overrides=[override],
    )
    (study,) = studies.values()
    assert getattr(study, key) == value


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("subsets={cuont: 4}", "unknown key subsets.cuont, did you mean count?"),
        ("subsets={count: many}", 'subsets.count must be of type integer, got "many"'),
        ("subsets={count: 4", "--config: not valid YAML: {count: 4"),
        ("subset={count: 4}", "unknown key subset, did you mean subsets?"),
        ("subsets=4", "subsets must be of type mapping, got 4"),
        (
            "approximation=always",
            "--config: approximation is a section now: write approximation={when: always}",
        ),
        (
            "variational={guide: flow}",
            "--config: variational is named approximation now: write approximation={method: flow}",
        ),
    ],
)
def test_a_wrong_override_is_refused(folder, override, words):
    write(folder / "mine.yaml")
    with pytest.raises(StudyError, match=re.escape(words)):
        from_command_line(folder, default=DEFAULT, overrides=[override])


@pytest.mark.parametrize("is_study", [False, True], ids=["study_file", "configfile"])
def test_an_override_does_not_hide_a_key_of_before(folder, is_study):
    mine = write(folder / "mine.yaml", approximation="always")
    with pytest.raises(StudyError, match=r"mine.yaml: approximation is a section now: write"):
        from_command_line(
            folder,
            default=DEFAULT,
            configfiles=[mine] if is_study else [],
            overrides=["approximation={steps: 5000}"],
        )
