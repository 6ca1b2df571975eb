"""The approximation of all rows by nested Laplace: which models get it, what it writes, and what the page says."""

import json

import numpy as np
import pandas as pd
import pytest
import small_studies

from scalecheck.files import formats, posterior_file
from scalecheck.fitting import fit_job
from scalecheck.pipeline import approximate as program
from scalecheck.report import approximation_section as page
from scalecheck.study.settings import parse_sections

N_CLINICS, N_ROWS = 40, 200
INTERCEPTS = """
def model(x, clinic, n_clinic, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    with numpyro.plate("clinics", n_clinic):
        effect = numpyro.sample("effect", dist.Normal(0.0, tau))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(mu + effect[clinic], 1.0), obs=y)
"""


@pytest.fixture(scope="module")
def clinics(tmp_path_factory):
    """A study of random intercepts, planned and not fitted."""
    rng = np.random.default_rng(8)
    clinic = rng.permutation(np.repeat(np.arange(N_CLINICS), N_ROWS // N_CLINICS))
    y = 0.5 + 0.8 * rng.standard_normal(N_CLINICS)[clinic] + rng.standard_normal(N_ROWS)
    labels = [f"c{code:02d}" for code in clinic]
    table = pd.DataFrame({"y": y, "x": 1.0, "clinic": labels})
    return small_studies.make(
        tmp_path_factory.mktemp("clinics"),
        table,
        INTERCEPTS,
        data={"unit": "clinic"},
        subsets={"count": 2, "size": 50},
        increments={"start": 100, "factor": 2, "end": "all", "order": "random", "warm": False},
        sampler={"chains": 4, "warmup": 300, "draws": 500},
        approximation={"when": "always", "simulate": 4},
    )


def test_a_model_of_independent_units_gets_nested_laplace(clinics):
    whole = clinics.whole()
    assert program.method_of("auto", "auto", whole) == ("laplace", "")
    assert program.method_of("laplace", "auto", whole) == ("laplace", "")
    assert program.method_of("mean_field", "auto", whole).name == "mean_field"


def test_a_model_without_units_is_told_why_it_gets_independent_normals(conjugate):
    name, reason = program.method_of("laplace", "auto", conjugate.whole())
    assert name == "mean_field"
    assert reason == (
        "laplace is for models of independent units: the model has no latent sites of units;"
        " mean_field in its place"
    )
    assert program.method_of("auto", "nuts", conjugate.whole()) == (name, reason)


@pytest.fixture(scope="module")
def written(clinics):
    """approximation.json of the study, its increments fitted."""
    for name in ("increment-01", "increment-02"):
        small_studies.write_increment(clinics.assigned(), name)
    raw = json.loads(clinics.study.sections())
    job = fit_job.Job(
        clinics.folder,
        parse_sections(json.dumps(raw)),
        raw,
        small_studies.DEVICE,
        (0, 0),
        lambda line: None,
    )
    program.write_approximation(job)
    return formats.read_json(clinics.folder.approximation)


@pytest.mark.long
def test_it_is_believable_beside_nuts(written):
    assert (written["method"], written["verdict"]) == ("laplace", "believable")
    assert written["details"]["units"] == N_CLINICS
    assert written["details"]["second_modes"] == 0
    last = written["increments"][-1]
    assert last["rows"] == N_ROWS
    assert np.abs(last["shift"]).max() < 0.2
    assert last["units"]["effect"]["rms_shift"] < 0.15
    assert written["symmetry"]["n_data_sets"] + written["symmetry"]["n_open"] == 4


@pytest.mark.long
def test_units_are_summarised_by_their_labels(clinics, written):
    tree = posterior_file.read_posterior(clinics.folder.approximate_posterior)
    units = tree["units"]["effect"]
    assert units.dims == ("statistic", "clinic")
    draws = tree["posterior"]["effect"]
    assert list(draws["clinic"].to_numpy()) == list(units["clinic"].to_numpy())
    mean, sd = draws.mean(("chain", "draw")), draws.std(("chain", "draw"))
    # Draws of one theta share its error: half of them are independent at least.
    error = float(sd.max()) / np.sqrt(draws.sizes["draw"] / 2)
    assert np.abs(units.sel(statistic="mean") - mean).max() < 5 * error
    assert (units.sel(statistic="low") < units.sel(statistic="median")).all()


@pytest.mark.long
def test_the_page_says_what_was_integrated_out_and_shows_the_truth(written):
    section = page.section(written, {"mu": 0.5, "tau": 0.8})
    assert f"{N_CLINICS} units were integrated out one by one" in section.sentence
    (reason,) = section.reasons
    assert reason.startswith("At 200 rows means are off by")
    assert reason.endswith(".")
    assert section.recovery is not None
    assert "of 2 89 % intervals of the approximation of 200 rows" in section.recovery.caption


@pytest.mark.long
def test_the_page_says_why_a_run_has_not_converged(written):
    lost = {**written, "converged": False, "reason": "3 units are without a mode"}
    assert "It did not converge: 3 units are without a mode." in page.section(lost, {}).sentence
