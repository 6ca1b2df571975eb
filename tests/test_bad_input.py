"""Bad input, as a user meets it: one line that names file, key and row, status 1, and nothing half-written."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import yaml

from scalecheck import configuration, program
from scalecheck.errors import StudyError

CHECKOUT = Path(__file__).parents[1]

MODEL = """\
import numpyro
import numpyro.distributions as dist


def model(x, y=None):
    beta = numpyro.sample("beta", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=beta * x), obs=y)
"""

STUDY = {
    "study": "small",
    "data": {"file": "data.csv", "outcome": "y"},
    "model": {"file": "model.py"},
    "subsets": {"count": 2, "size": 50},
    "increments": {"start": 50, "end": 100},
}

N_ROWS = 200


def table():
    """Make a table on which nothing is wrong."""
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "x": rng.normal(size=N_ROWS).round(3),
            "y": rng.integers(2, size=N_ROWS),
            "site": np.array(["north", "south"])[rng.integers(2, size=N_ROWS)],
            "patient": np.arange(N_ROWS) // 4,
            "trials": 3,
            "successes": rng.integers(4, size=N_ROWS),
            "same": 7.5,
        }
    )


def merged(settings, changes):
    """Merge changes into settings; a change to None takes the key away."""
    both = {
        key: merged(settings.get(key, {}), value) if isinstance(value, dict) else value
        for key, value in changes.items()
    }
    return {key: value for key, value in {**settings, **both}.items() if value is not None}


# ---- the programs in the order of the workflow, in this process


class Step(NamedTuple):
    """A program, the sections that its rule gives it, and what it writes."""

    script: str
    sections: tuple[str, ...]
    output: str


STEPS = (
    Step("prepare", ("seed", "data", "model", "subsets.levels"), "data.nc"),
    Step("check_study", ("seed", "data.outcome", "data.truth", "model", "sampler"), "model.json"),
    Step("plan", ("subsets", "increments"), "plan.csv"),
)


def run_step(step, study, monkeypatch):
    spec = importlib.util.spec_from_file_location(
        step.script, CHECKOUT / f"scripts/{step.script}.py"
    )
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    settings, folder = study.sections(*step.sections), f"results/{study.study}"
    options = ["--settings", settings, "--folder", folder, "--log", f"logs/{step.script}.log"]
    monkeypatch.setattr(sys, "argv", [step.script, *options])
    program.main(step.script, script.__doc__, script.run)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return an empty working directory; the programs set what JAX reads from the environment."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "JAX_PLATFORMS",
        "JAX_ENABLE_X64",
        "JAX_COMPILATION_CACHE_DIR",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    ):
        monkeypatch.setenv(name, os.environ.get(name, ""))
        monkeypatch.delenv(name)
    return tmp_path


def write(folder, *, data=None, model=MODEL, settings=None, text=None):
    """Write a study with something changed."""
    frame = table() if data is None else data(table())
    if isinstance(frame, pd.DataFrame):
        frame.to_csv(folder / "data.csv", index=False)
    elif frame is not None:
        (folder / "data.csv").write_text(frame)
    if model is not None:
        (folder / "model.py").write_text(model)
    study = yaml.safe_dump(merged(STUDY, settings or {}), sort_keys=False)
    (folder / "study.yaml").write_text(text(study) if text else study)


def refusal(folder, monkeypatch, capsys):
    """Run the study until something is refused; give the step and its line."""
    try:
        (study,) = configuration.select(
            configuration.read_yaml("study.yaml"), ["study.yaml"]
        ).values()
    except StudyError as error:
        assert not (folder / "results").exists()
        return "configuration", str(error)
    for step in STEPS:
        try:
            run_step(step, study, monkeypatch)
        except SystemExit as stop:
            assert stop.code == 1
            return step.script, refused_line(folder, step, capsys)
        assert (folder / "results/small" / step.output).exists()
    raise AssertionError("nothing was refused")


def refused_line(folder, step, capsys):
    """Check what a refusal leaves behind, and give its line."""
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    # The log has the same line, with the time before it.
    assert (folder / f"logs/{step.script}.log").read_text().splitlines()[-1].endswith(line)
    done = {earlier.output for earlier in STEPS[: STEPS.index(step)]}
    left = {path.name for path in (folder / "results/small").glob("*")}
    assert left == done
    return line


# ---- what may be wrong


def change(**columns):
    return lambda frame: frame.assign(**columns)


def at(column, row, value):
    """Change the value in a row, counted from 1."""

    def changed(frame):
        values = frame[column].astype(object)
        values.iloc[row - 1] = value
        return frame.assign(**{column: values})

    return changed


def instead(old, new):
    return MODEL.replace(old, new)


BINOMIAL = {"data": {"expand": {"trials": "trials", "successes": "successes"}}}
COUNTED = {"data": lambda frame: frame.drop(columns="y"), "settings": BINOMIAL}

# name: (what is changed, the step that refuses it, the line)
CASES = {
    # the study file
    "unknown key": (
        {"settings": {"subset": {"count": 2}}},
        "configuration",
        "study.yaml: unknown key subset, did you mean subsets?",
    ),
    "unknown key in a section": (
        {"settings": {"data": {"axis": ["site"]}}},
        "configuration",
        "study.yaml: unknown key data.axis, did you mean axes?",
    ),
    "duplicate key": (
        {"text": lambda study: study + "seed: 1\nsubsets: {count: 4}\n"},
        "configuration",
        "study.yaml: line 14: the key subsets is given twice",
    ),
    "invalid YAML": (
        {"text": lambda study: study + "seed: [1\n"},
        "configuration",
        "study.yaml: line 14: not valid YAML: expected ',' or ']', but got '<stream end>'",
    ),
    "a list as study file": (
        {"text": lambda study: "- study: small\n"},
        "configuration",
        "study.yaml: a study file must be a mapping of keys, got a list",
    ),
    "factor of one": (
        {"settings": {"increments": {"factor": 1}}},
        "configuration",
        "study.yaml: increments.factor must be greater than 1, got 1",
    ),
    "negative size": (
        {"settings": {"subsets": {"size": -50}}},
        "configuration",
        "study.yaml: subsets.size must be at least 1, got -50",
    ),
    "negative start": (
        {"settings": {"increments": {"start": -50}}},
        "configuration",
        "study.yaml: increments.start must be at least 1, got -50",
    ),
    "missing data file": (
        {"settings": {"data": {"file": "dta.csv"}}},
        "configuration",
        "study.yaml: data.file must be an existing file, got dta.csv",
    ),
    "missing program that makes the data": (
        {"settings": {"data": {"file": "made.csv", "made_by": "mak.py"}}},
        "configuration",
        "study.yaml: data.made_by must be an existing file, got mak.py",
    ),
    "missing model file": (
        {"model": None},
        "configuration",
        "study.yaml: model.file must be an existing file, got model.py",
    ),
    "warm starts of an engine without": (
        {"settings": {"increments": {"warm": True}, "sampler": {"engine": "numpyro"}}},
        "configuration",
        'study.yaml: increments.warm needs sampler.engine to be lanes, got "numpyro"',
    ),
    "warm starts of a dense metric": (
        {
            "settings": {
                "increments": {"warm": True},
                "sampler": {"engine": "lanes", "metric": "dense"},
            }
        },
        "configuration",
        'study.yaml: increments.warm needs sampler.metric to be diagonal, got "dense"',
    ),
    "warm starts beside starts from the previous increment": (
        {
            "settings": {
                "increments": {"warm": True},
                "sampler": {"engine": "lanes", "start": "previous"},
            }
        },
        "configuration",
        "study.yaml: sampler.start is previous, but with increments.warm increments start from the previous one"
        " already: use one of the two",
    ),
    "no gradient at all": (
        {"settings": {"sampler": {"max_gradients": 0}}},
        "configuration",
        "study.yaml: sampler.max_gradients must be at least 1, got 0",
    ),
    "part of a gradient": (
        {"settings": {"sampler": {"max_gradients": 1.5}}},
        "configuration",
        "study.yaml: sampler.max_gradients must be",
    ),
    # columns
    "misspelt argument": (
        {"settings": {"model": {"arguments": {"x": "xx"}}}},
        "prepare",
        "data.csv: no column xx, which model.arguments.x names, did you mean x?",
    ),
    "argument that the model lacks": (
        {"settings": {"model": {"arguments": {"dose": "x"}}}},
        "prepare",
        "model.py: the function model has no argument dose, which model.arguments names",
    ),
    "outcome that the model lacks": (
        {"settings": {"data": {"outcome": "yy"}}},
        "prepare",
        "model.py: the function model has no argument yy, which data.outcome names, did you mean y?",
    ),
    "outcome without a column": (
        {"data": lambda frame: frame.rename(columns={"y": "died"})},
        "prepare",
        "data.csv: no column y, which data.outcome names; it has x, died, site, ",
    ),
    "model argument without a column": (
        {"model": instead("model(x, y", "model(x, sites, y")},
        "prepare",
        "data.csv: no column sites, which the function model of model.py takes, did you mean site?",
    ),
    "misspelt axis": (
        {"settings": {"data": {"axes": ["sitee"]}}},
        "prepare",
        "data.csv: no column sitee, which data.axes names, did you mean site?",
    ),
    "misspelt unit": (
        {"settings": {"data": {"unit": "pateint"}}},
        "prepare",
        "data.csv: no column pateint, which data.unit names, did you mean patient?",
    ),
    "misspelt order": (
        {"settings": {"data": {"order": "yeer"}}},
        "prepare",
        "data.csv: no column yeer, which data.order names; it has x, y, site, ",
    ),
    "axes of one file name": (
        {
            "data": change(**{"a b": 1, "a-b": 2}),
            "settings": {"data": {"axes": ["a b", "a-b"]}},
        },
        "prepare",
        "data.csv: data.axes must differ in more than punctuation, got a b, a-b",
    ),
    "the outcome as an axis": (
        {"settings": {"data": {"axes": ["site", "y"]}}},
        "prepare",
        "data.csv: data.axes must not name the outcome, got y",
    ),
    # values
    "string in a numeric column": (
        {"data": at("x", 7, "n.a.")},
        "prepare",
        "data.csv: column x, row 7 is 'n.a.' where 199 rows hold numbers (data.categories names",
    ),
    "NaN": (
        {"data": at("x", 7, np.nan)},
        "prepare",
        "data.csv: column x has no value (empty or NaN) in row 7 (data.missing: drop leaves such",
    ),
    "NaN in the outcome": (
        {"data": at("y", 200, np.nan)},
        "prepare",
        "data.csv: column y has no value (empty or NaN) in row 200 (data.missing: drop leaves",
    ),
    "infinity": (
        {"data": at("x", 9, -np.inf)},
        "prepare",
        "data.csv: column x is infinite in row 9 (data.missing: drop leaves such rows out)",
    ),
    "empty table": (
        {"data": lambda frame: frame.iloc[:0]},
        "prepare",
        "data.csv: the table has no rows",
    ),
    "empty file": ({"data": lambda frame: ""}, "prepare", "data.csv: cannot be read: No columns"),
    "trials smaller than successes": (
        COUNTED | {"data": lambda frame: at("successes", 5, 4)(frame.drop(columns="y"))},
        "prepare",
        "data.csv: row 5 has 4 successes of only 3 trials",
    ),
    "negative count": (
        COUNTED | {"data": lambda frame: at("trials", 5, -3)(frame.drop(columns="y"))},
        "prepare",
        "data.csv: column trials, row 5 must be a whole number from 0, got -3",
    ),
    "constant axis": (
        {"settings": {"data": {"axes": ["site", "same"]}}},
        "prepare",
        "data.csv: column same is 7.5 in every row and cannot be one of data.axes",
    ),
    # the model
    "syntax error": (
        {"model": MODEL + "    numpyro.sample('z'\n"},
        "prepare",
        "model.py, line 9: not valid Python: '(' was never closed",
    ),
    "no such function": (
        {"model": instead("def model", "def modell")},
        "prepare",
        "model.py: model.function must be a function of this file, got model, did you mean modell?",
    ),
    "import that fails": (
        {"model": instead("import numpyro\n", "import numpyroo\n")},
        "check_study",
        "model.py, line 1: cannot be imported: ModuleNotFoundError: No module named 'numpyroo'",
    ),
    "model that raises": (
        {"model": instead("beta * x", "beta * x @ x[:3]")},
        "check_study",
        "model.py, line 8: the model raises TypeError: ",
    ),
    "model that asks for numbers": (
        {"model": instead("dist.Normal(0.0, 1.0)", "dist.Normal(0.0, float(x.max()))")},
        "check_study",
        "model.py, line 6: the model raises ConcretizationTypeError: ",
    ),
    "observed site missing": (
        {"model": instead(", obs=y", "")},
        "check_study",
        "model.py: no site is observed: give numpyro.sample(..., obs=y)",
    ),
    "nothing observed": (
        {"model": instead("dist.Bernoulli(logits=beta * x), obs=y", "dist.Normal(beta * x, 1.0)")},
        "check_study",
        "model.py: no site is observed: give numpyro.sample(..., obs=y)",
    ),
    "two observed sites": (
        {"model": MODEL + '    numpyro.sample("z", dist.Normal(beta, 1.0), obs=x)\n'},
        "check_study",
        "model.py: exactly one site must be observed, got y, z",
    ),
    "discrete latent": (
        {"model": instead('"beta", dist.Normal(0.0, 1.0)', '"beta", dist.Poisson(1.0)')},
        "check_study",
        "model.py: the latent site beta is discrete, which NUTS cannot sample: sum it out",
    ),
    "only latents of rows": (
        {"model": instead("dist.Normal(0.0, 1.0))", "dist.Normal(0.0, 1.0).expand(x.shape))")},
        "check_study",
        "model.py: no latent site can be compared across fits: all are indexed by a group or by",
    ),
    "compare names no site": (
        {"settings": {"model": {"compare": ["bta"]}}},
        "check_study",
        "model.py: model.compare names bta, which is no latent site, did you mean beta?",
    ),
    "keep names no site": (
        {"settings": {"sampler": {"keep": ["bta"]}}},
        "check_study",
        "sampler.keep names bta, which is no site of model.py, did you mean beta?",
    ),
    "metric names a site twice": (
        {"settings": {"sampler": {"metric": [["beta"], ["beta"]]}}},
        "check_study",
        "sampler.metric must name a site once, got beta twice",
    ),
    "metric names no site": (
        {"settings": {"sampler": {"metric": [["bta"]]}}},
        "check_study",
        "sampler.metric names bta, which is no latent site of model.py, did you mean beta?",
    ),
    "import that exits": (
        {"model": "import sys\n\nsys.exit(3)\n" + MODEL},
        "check_study",
        "model.py, line 3: cannot be imported: SystemExit: 3",
    ),
    "misspelt count": (
        {
            "model": instead("model(x, y", "model(x, site, n_sites, y"),
        },
        "check_study",
        "model.py: the function model: argument n_sites has no column, did you mean n_site?",
    ),
    "text in a matrix": (
        {"settings": {"model": {"arguments": {"x": ["x", "site"]}}}},
        "check_study",
        "model.py: the function model: argument x takes several columns, which must all hold numbers",
    ),
    "site given twice": (
        {"model": MODEL.replace("    with", '    numpyro.sample("beta", dist.Normal())\n    with')},
        "check_study",
        "model.py, line 7: the model raises AssertionError: all sites must have unique names",
    ),
    "counts of a number": (
        {"model": instead("model(x, y", "model(x, patient, n_patient, y")},
        "check_study",
        "model.py: the function model: argument n_patient counts the levels of patient, which holds",
    ),
    "outcome out of support": (
        {"data": at("y", 7, 2)},
        "check_study",
        "data.csv: row 7 has y = 2, which is outside the support of the observed site y (model.py)",
    ),
    "precision lost": (
        {"data": lambda frame: frame.assign(x=frame.x + 1e8)},
        "check_study",
        "data.csv: column x loses its precision in float32: rounding moves its values by ",
    ),
    # sizes
    "subset larger than the data": (
        {"settings": {"subsets": {"size": 201}}},
        "plan",
        "subsets.size must be at most the 200 rows of data.csv, got 201",
    ),
    "subsets larger than the data": (
        {"settings": {"subsets": {"count": 5}}},
        "plan",
        "subsets.count must be at most 4 disjoint subsets of subsets.size 50 in the 200 rows of"
        " data.csv, got 5",
    ),
    "start larger than the data": (
        {"settings": {"increments": {"start": 201, "end": None}}},
        "plan",
        "increments.start must be at most the 200 rows of data.csv, got 201",
    ),
    "end larger than the data": (
        {"settings": {"increments": {"end": 201}}},
        "plan",
        "increments.end must be between increments.start 50 and the 200 rows of data.csv, got 201",
    ),
    "unit larger than a subset": (
        {"settings": {"data": {"unit": "patient"}, "subsets": {"size": 3}}},
        "plan",
        "subsets.size must be at least the 4 rows of the largest unit in data.csv, got 3",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_in_one_line(name, folder, monkeypatch, capsys):
    changes, step, line = CASES[name]
    write(folder, **changes)
    found, message = refusal(folder, monkeypatch, capsys)
    assert (found, message[: len(line)]) == (step, line)


def test_good_input_is_not_refused(folder, monkeypatch, capsys):
    write(folder)
    with pytest.raises(AssertionError, match="nothing was refused"):
        refusal(folder, monkeypatch, capsys)


def damaged(folder, name):
    frame = table()
    if name.endswith(".parquet"):
        frame.to_parquet(folder / name)
    else:
        frame.to_csv(folder / name, index=False)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("name", ["data.csv.gz", "data.parquet"])
def test_a_damaged_data_file_is_refused_in_one_line(name, folder, monkeypatch, capsys):
    write(folder, settings={"data": {"file": name}})
    damaged(folder, name)
    step, message = refusal(folder, monkeypatch, capsys)
    assert step == "prepare"
    assert message.startswith(f"{name}: cannot be read: ")


# ---- the whole workflow, as it is run


def snakemake(folder, *options):
    """Run Snakemake as a user does, in a folder of their own."""
    command = [Path(sys.executable).with_name("snakemake"), "--snakefile", CHECKOUT / "Snakefile"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        [*command, "--directory", folder, "--cores", "2", "--resources", "gpu=0", *options],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=folder,
    )


def ours(output, words):
    """Lines of ours in what Snakemake shows."""
    return [line for line in output.stderr.splitlines() if line.startswith(words)]


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_snakemake_stops_before_any_job_on_a_wrong_study_file(tmp_path):
    write(tmp_path, settings={"subsets": {"cuont": 2}})
    output = snakemake(tmp_path, "--configfile", "study.yaml")
    assert output.returncode == 1
    line = f"{tmp_path}/study.yaml: unknown key subsets.cuont, did you mean count?"
    assert ours(output, line) == [line]
    assert "Traceback" not in output.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_a_key_of_the_default_study_does_not_leak_through_snakemake(tmp_path):
    write(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("study_file: study.yaml\nsubsets: {count: 9}\n")
    output = snakemake(tmp_path, "--configfile", "study.yaml")
    assert output.returncode == 1
    line = f"config/config.yaml: the key subsets would leak into {tmp_path}/study.yaml: "
    assert len(ours(output, line)) == 1
    assert "Traceback" not in output.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_snakemake_stops_before_any_fit_on_bad_data_models_and_sizes(tmp_path):
    # Three broken studies in one run, each at another step: one Snakemake costs more than they do.
    broken = {
        "nan": ({"data": at("x", 7, np.nan)}, "nan study/data.csv: column x has no value"),
        "raises": (
            {"model": instead("beta * x", "beta * x @ x[:3]")},
            "raises study/model.py, line 8: the model raises TypeError",
        ),
        "large": (
            {"settings": {"subsets": {"size": 201}}},
            "subsets.size must be at most the 200 rows of large study/data.csv, got 201",
        ),
    }
    for name, (changes, _) in broken.items():
        folder = tmp_path / f"{name} study"  # a path may have spaces
        folder.mkdir()
        settings = {"study": name} | changes.get("settings", {})
        write(folder, **(changes | {"settings": settings}))
    names = ", ".join(f"{name} study/study.yaml" for name in broken)
    output = snakemake(
        tmp_path, "--keep-going", "--configfile", config(tmp_path), "--config", f"studies=[{names}]"
    )
    assert output.returncode == 1
    for _, line in broken.values():
        assert len(ours(output, line)) == 1, output.stderr
    assert "Traceback" not in output.stderr
    assert not re.search(r"rule fit_\w+:", output.stderr)
    results = tmp_path / "results"
    left = {path for path in files(results) if not path.startswith(".jax")}
    assert left == {"raises/data.nc", "large/data.nc", "large/model.json"}


def config(folder):
    """Write the one line that tells Snakemake which study is the default one."""
    (folder / "config.yaml").write_text("study_file: study.yaml\n")
    return "config.yaml"
