"""The rank of a study among studies simulated from its own posterior."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest
import small_studies

from scalecheck.checks import simulated_ranks, verdict
from scalecheck.checks.finding import Effect, Finding
from scalecheck.data import store
from scalecheck.errors import StudyError
from scalecheck.files import formats
from scalecheck.results import study_fits
from scalecheck.simulation import simulated_findings
from scalecheck.study.settings import ApproximationSettings
from scalecheck.variational.vsbc_fits import simulate_approximations


def finding(family, p, fit=None, axis=None):
    effect = None if p is None else Effect("size", 1.0, 0.0, 2.0)
    return Finding(
        family=family,
        p=p,
        weight=1.0,
        large=False,
        effect=effect,
        axis=axis,
        fit=fit,
        message="a message",
    )


def test_each_finding_is_ranked_among_its_own_kind():
    observed = [finding("agreement", 0.03), finding("drift", 0.5, "increment-02")]
    simulated = [
        [finding("agreement", p), finding("drift", q, "increment-02")]
        for p, q in [(0.02, 0.9), (0.5, 0.1), (0.9, 0.4), (0.7, None)]
    ]
    table = simulated_ranks.rank_findings(observed, simulated, 0.05).set_index("family")
    assert table.loc["agreement", "p_simulated"] == pytest.approx(2 / 5)
    assert table.loc["drift", "p_simulated"] == pytest.approx(3 / 5)
    # Of two families, given .1 and .07, agreement has .9 of what there is: .033 against .022, .16, .65 and then .7.
    spent = sum(one.given * one.spent for one in verdict.SHARES.values())
    assert table.loc["", "p"] == pytest.approx(0.03 * 0.17 * spent / 0.10)
    assert table.loc["", "p_simulated"] == pytest.approx(2 / 5)
    assert (table["n_simulated"] == 4).all()


@pytest.mark.parametrize(
    ("family", "observed", "others"),
    [
        # Another subset takes most leapfrogs, another statistic leads, another increment is the last usable one.
        ("effort", {"fit": "subset-03"}, {"fit": "subset-05"}),
        ("surprise", {"fit": "increment-02", "axis": "a"}, {"fit": "increment-02", "axis": "b"}),
        (
            "heterogeneity",
            {"fit": "increment-04", "axis": "t"},
            {"fit": "increment-03", "axis": "t"},
        ),
    ],
)
def test_a_finding_is_ranked_whatever_the_answer_was_in_simulated_studies(family, observed, others):
    simulated = [[finding(family, p, **others)] for p in (0.01, 0.02, 0.9, 0.9)]
    table = simulated_ranks.rank_findings([finding(family, 0.1, **observed)], simulated, 0.05)
    assert table["p_simulated"].iloc[0] == pytest.approx(3 / 5)


def test_what_was_not_run_is_not_ranked():
    table = simulated_ranks.rank_findings(
        [finding("effort", None), finding("drift", 0.2)], [], 0.05
    )
    assert table["family"].tolist() == ["drift", ""]


@pytest.fixture(scope="module")
def simulated(conjugate, tmp_path_factory):
    from scalecheck.pipeline import check
    from scalecheck.study.settings import parse_sections

    study = conjugate.study
    sections = parse_sections(study.sections("seed", "data", "model", "increments"))
    found = check.write_checks(conjugate.folder, sections, lambda line: None)
    settings = dataclasses.replace(study, verdict=dataclasses.replace(study.verdict, simulate=4))
    table = simulated_findings.simulate_findings(conjugate.folder, settings, lambda line: None)
    path = tmp_path_factory.mktemp("simulated") / "findings.csv"
    formats.write_table(path, table)
    others = simulated_ranks.findings_by_data_set(formats.read_table(path))
    return found, simulated_ranks.rank_findings(found.findings, others, 0.05)


@pytest.mark.long
def test_a_study_is_ranked_finding_by_finding(simulated):
    found, table = simulated
    ran = [f for f in found.findings if f.p is not None]
    assert len(table) == len(ran) + 1
    assert table["p"].iloc[:-1].tolist() == [f.p for f in ran]
    assert set(np.round(table["p_simulated"] * 5)) <= {1, 2, 3, 4, 5}


def test_simulated_outcomes_agree_wherever_two_fits_share_a_row_and_differ_between_sets(conjugate):
    study = conjugate.study
    fits = study_fits.read_study_fits(conjugate.folder, study.increments.order)
    settings = dataclasses.replace(study, verdict=dataclasses.replace(study.verdict, simulate=2))
    evidence = conjugate.evidence()
    read = simulated_findings._reader(evidence, fits, simulated_findings.last_good(fits), settings)
    seen: list[dict[int, float]] = []
    for number in range(2):
        by_row: dict[int, float] = {}
        for task in fits.tasks:
            got = read(number)(task.slices, ["y", store.OBSERVATION])
            for row, y in zip(got[store.OBSERVATION].tolist(), got["y"].tolist(), strict=True):
                assert by_row.setdefault(row, y) == y
        seen.append(by_row)
    assert len(seen[0]) == 214
    assert all(seen[0][row] != seen[1][row] for row in seen[0])


def test_an_increment_where_the_model_broke_is_not_simulated_from(conjugate):
    fits = study_fits.read_study_fits(conjugate.folder, "arrival")
    broken = {
        name: fit._replace(
            record=dataclasses.replace(fit.record, stop="broke" if name == "increment-03" else "")
        )
        for name, fit in fits.done.items()
    }
    assert simulated_findings.last_good(fits._replace(done=broken)).task.fit == "increment-02"
    assert simulated_findings.last_good(fits._replace(done={})) is None


def test_without_a_good_increment_nothing_is_simulated_and_the_study_still_ends(
    conjugate, monkeypatch
):
    monkeypatch.setattr(simulated_findings, "last_good", lambda fits: None)
    log: list[str] = []
    table = simulated_findings.simulate_findings(conjugate.folder, conjugate.study, log.append)
    assert simulated_ranks.findings_by_data_set(table) == []
    assert log == ["nothing is simulated: no increment has a usable posterior to simulate from"]


CENSORED = """
def model(lost, y=None):
    level = numpyro.sample("level", dist.Normal(0, 1))
    with numpyro.plate("rows", lost.shape[0]):
        life = dist.Normal(level, 1.0)
        numpyro.sample("y", dist.RightCensoredDistribution(life, lost), obs=y)
"""


def test_a_censored_outcome_is_refused_simulated_data_sets(tmp_path):
    table = pd.DataFrame({"lost": np.arange(100) % 2, "y": np.linspace(-1, 1, 100)})
    small = small_studies.make(tmp_path, table, CENSORED)
    reason = "must be 0: the outcome of the site y is censored, and the data say which rows are"
    with pytest.raises(StudyError, match=f"^verdict.simulate {reason}"):
        simulated_findings.simulate_findings(small.folder, small.study, lambda line: None)
    settings = ApproximationSettings("always", "mean_field", "auto", None, 100, 5)
    with pytest.raises(StudyError, match=f"model.py: approximation.simulate {reason}"):
        simulate_approximations(small.whole(), settings, jax.random.PRNGKey(1), lambda line: None)
