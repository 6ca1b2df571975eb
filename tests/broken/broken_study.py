"""A small study on which nothing is wrong, to be broken, and the programs that are to refuse it."""

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml

from scalecheck.errors import StudyError
from scalecheck.runtime import program
from scalecheck.study import read_study
from scalecheck.study.settings import write_settings

CHECKOUT = Path(__file__).parents[2]

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

Change = Callable[[pd.DataFrame], pd.DataFrame]


class Broken(NamedTuple):
    """What is wrong with a study, the step that refuses it, and the line.

    `data` takes the sound table and gives another; `file` takes that, and writes it in its own way;
    `text` changes the study file, `environment` variables.
    """

    step: str
    line: str
    settings: Mapping[str, Any] = {}
    data: Change = lambda frame: frame
    file: Callable[[Path, pd.DataFrame], Any] | None = None
    model: str | bytes | None = MODEL
    text: Callable[[str], str] = lambda study: study
    environment: Mapping[str, str] = {}


def table() -> pd.DataFrame:
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


def merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge changes into settings; a change to None takes the key away."""
    both = {
        key: merged(settings.get(key, {}), value) if isinstance(value, dict) else value
        for key, value in changes.items()
    }
    return {key: value for key, value in {**settings, **both}.items() if value is not None}


def as_csv(path: Path, frame: pd.DataFrame) -> None:
    frame.to_csv(path, index=False)


def write(folder: Path, broken: Broken, **settings: Any) -> None:
    """Write a study with something wrong."""
    given = merged(merged(STUDY, broken.settings), settings)
    (broken.file or as_csv)(folder / Path(given["data"]["file"]).name, broken.data(table()))
    if broken.model is not None:
        source = broken.model if isinstance(broken.model, bytes) else broken.model.encode()
        (folder / "model.py").write_bytes(source)
    (folder / "study.yaml").write_text(broken.text(yaml.safe_dump(given, sort_keys=False)))


# ---- the program that runs before any fit, in this process

# What it does one after the other, and what that writes.
STEPS = {"prepare": "data.nc", "check_study": "model.json", "plan": "plan.csv"}


def run_program(study, monkeypatch):
    """Run the program as its rule does."""
    spec = importlib.util.spec_from_file_location("prepare", CHECKOUT / "scripts/prepare.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    path = Path(f"results/{study.study}/settings.json")
    write_settings(path, study)
    options = ["--settings", str(path), "--digest", study.digest(), "--log", "logs/prepare.log"]
    monkeypatch.setattr(sys, "argv", ["prepare", *options])
    program.main("prepare", script.__doc__, script.run)


def refusal(folder: Path, monkeypatch, capsys) -> tuple[str, str]:
    """Run the study until something is refused; give the step and its line."""
    try:
        (study,) = read_study.select(read_study.read_yaml("study.yaml"), ["study.yaml"]).values()
    except StudyError as error:
        assert not (folder / "results").exists()
        return "configuration", str(error)
    try:
        run_program(study, monkeypatch)
    except SystemExit as stop:
        assert stop.code == 1
        return _refused_line(folder, capsys)
    assert all((folder / "results/small" / name).exists() for name in STEPS.values())
    raise AssertionError("nothing was refused")


def _refused_line(folder: Path, capsys) -> tuple[str, str]:
    """Check what a refusal leaves behind, and give its step and its line."""
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    # The log has the same line, with the time before it.
    assert (folder / "logs/prepare.log").read_text().splitlines()[-1].endswith(f" failed: {line}")
    left = {path.name for path in (folder / "results/small").glob("[!.]*")} - {"settings.json"}
    names = list(STEPS)
    step = names[len(left)]
    assert left == {STEPS[name] for name in names[: len(left)]}
    return step, line
