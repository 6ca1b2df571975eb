"""The gradient profile of small studies: what it counts is known, what it times is only there."""

import os
import runpy
import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
import small_studies
import yaml

from scalecheck.errors import StudyError
from scalecheck.pipeline import bandwidth, profile

SCRIPT = Path(__file__).parents[1] / "scripts/profile.py"
N_ROWS = 130
NO_PARAMETERS = """
def model(x, y=None):
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(0.0, 1.0), obs=y)
"""


def small(path, *arguments, **settings):
    table = pd.DataFrame({"y": np.linspace(-1, 1, N_ROWS), "x": 1.0})
    return small_studies.make(path, table, *arguments, **settings)


def write_study(small, path):
    """Write the study file that `make` skips; sections that matter here."""
    study = small.study
    content = {
        "study": "small",
        "results": str(path / "results"),
        "data": {"file": study.data.file, "outcome": "y"},
        "model": {"file": study.model.file},
        "increments": {"start": 50, "end": 50},
        "sampler": {"chains": 2, "warmup": 150, "draws": 150},
    }
    (path / "study.yaml").write_text(yaml.safe_dump(content))


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    """Run the program: the study, what it prints, and its table."""
    path = tmp_path_factory.mktemp("profile")
    study = small(path)
    write_study(study, path)
    options = [str(path / "study.yaml"), "--csv", str(path / "tables" / "profile.csv")]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("JAX_PLATFORMS", "JAX_ENABLE_X64"):
            patch.setenv(name, os.environ.get(name, ""))
        patch.setattr(sys, "argv", ["scalecheck-profile", *options])
        printed: list[str] = []
        patch.setattr("builtins.print", lambda text, **_: printed.append(text))
        runpy.run_path(str(SCRIPT), run_name="__main__")
    return study, "\n".join(printed), pd.read_csv(path / "tables" / "profile.csv")


@pytest.mark.long
def test_sizes_go_on_to_all_rows_in_both_precisions_with_one_and_all_chains(profiled):
    _, _, table = profiled
    found = table[["device", "precision", "rows", "chains"]].drop_duplicates()
    # 100 to 130 would be too short a step.
    expected = [
        ("cpu", precision, rows, chains)
        for precision in ("float32", "float64")
        for rows in (50, N_ROWS)
        for chains in (1, 2)
    ]
    assert list(found.itertuples(index=False, name=None)) == expected


@pytest.mark.long
def test_bytes_are_those_of_the_arrays_once_and_of_the_parameters_of_each_chain(profiled):
    _, _, table = profiled
    size = table["precision"].map({"float32": 4, "float64": 8})
    # x and y are shared; each chain reads mu and writes its gradient.
    assert (table["bytes"] == size * (2 * table["rows"] + 2 * table["chains"])).all()


@pytest.mark.long
def test_xla_counts_at_least_the_outcome_and_twice_as_much_in_float64(profiled):
    _, _, table = profiled
    single, double = (table[table["precision"] == name] for name in ("float32", "float64"))
    assert (single["xla_bytes"] >= 4 * single["rows"]).all()
    ratio = double["xla_bytes"].to_numpy() / single["xla_bytes"].to_numpy()
    assert ((ratio > 1.8) & (ratio < 2.2)).all()


@pytest.mark.long
def test_shares_draws_and_fits_follow_from_the_seconds_of_a_gradient(profiled):
    _, _, table = profiled
    seconds = table["seconds_per_gradient"]
    assert (seconds > 0).all()
    np.testing.assert_allclose(table["share"], table["bytes"] / seconds / table["bandwidth"])
    np.testing.assert_allclose(
        table["xla_share"] / table["share"], table["xla_bytes"] / table["bytes"]
    )
    assert set(table["leapfrogs"]) == {7, 15, 31}  # no fit of this study was done
    np.testing.assert_allclose(table["seconds_per_draw"], table["leapfrogs"] * seconds)
    np.testing.assert_allclose(table["seconds_per_fit"], 300 * table["seconds_per_draw"])


@pytest.mark.long
def test_what_is_printed_has_a_line_for_every_gradient_and_every_fit(profiled):
    _, printed, table = profiled
    gradients, fits = printed.split("Milliseconds of a draw")
    assert gradients.startswith("small: ")
    assert f"bandwidth of a copy: cpu: {table['bandwidth'][0] / 1e9:.3g} GB/s" in gradients
    assert sum(line.split()[:1] == ["cpu"] for line in gradients.splitlines()) == 8
    assert "of 2 chains x (150 + 150) iterations" in fits
    assert sum(line.split()[:1] == ["cpu"] for line in fits.splitlines()) == 4


@pytest.mark.long
def test_float64_is_off_again_after_a_profile(profiled):
    assert jax.numpy.ones(1).dtype == "float32"


def test_leapfrogs_are_those_of_the_largest_increment_of_these_settings(conjugate):
    seen = profile.leapfrogs_seen(conjugate.folder, conjugate.study)
    record = conjugate.read("increment-03").record
    total = record.gradients.total
    statistics = conjugate.read("increment-03").tree["sample_stats"]["n_steps"]
    iterations = 4 * (200 + statistics.sizes["draw"])
    assert seen == ("increment-03", pytest.approx(total / iterations))
    cost = profile.MeasuredGradient("cpu", "float32", 100, 4, 1e-3, 800.0, 900.0, 1e9)
    table = profile.table([cost], conjugate.study, seen)
    assert table["leapfrogs"].iloc[-1] == seen.leapfrogs
    text = profile.as_text(table, conjugate.study, seen, 2)
    assert f"; {seen.leapfrogs:.3g} as in increment-03" in text


def test_leapfrogs_of_other_settings_are_not_used(conjugate, tmp_path):
    other = small(tmp_path).study
    assert profile.leapfrogs_seen(conjugate.folder, other) is None
    assert profile.leapfrogs_seen(small(tmp_path).folder, other) is None


def test_bandwidth_is_that_of_memory():
    measured = bandwidth.measure_bandwidth(jax.devices()[0], 2**22)
    assert 1e7 < measured < 1e14


def test_too_few_rows_are_refused(tmp_path):
    with pytest.raises(StudyError, match=r"^--rows must be at least increments.start 50, got 49$"):
        profile.profile(small(tmp_path).study, 49, lambda line: None)


def test_a_model_without_parameters_is_refused(tmp_path):
    study = small(tmp_path, NO_PARAMETERS).study
    with pytest.raises(StudyError, match=r"model\.py: the model has no latent site, so that"):
        profile.profile(study, None, lambda line: None)


def test_a_table_that_is_not_made_yet_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = small(tmp_path, data={"made_by": "model.py", "file": "data.csv"}).study
    Path("data.csv").unlink()
    with pytest.raises(
        StudyError, match=r"^data.csv: is not there yet: python \S+ data.csv writes it"
    ):
        profile.profile(study, None, lambda line: None)


def test_an_error_is_one_line_and_status_1(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["scalecheck-profile", str(tmp_path / "none.yaml")])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert stop.value.code == 1
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert "none.yaml: cannot be read" in shown.err
