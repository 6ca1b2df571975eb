"""Missing terms, in regressions whose scores are known exactly."""

import numpy as np
import pytest

from scalecheck.checks import form
from scalecheck.checks.form import PRODUCT, Term, check_form, terms_of
from scalecheck.checks.scores import LINEAR, LOG, SQUARE, Scores, ScoreSums

NAMES = ["intercept", "slope of dose", "slope of age"]


def table(rng, n_rows, outcome):
    """Covariates, one of them positive, and an outcome of unit variance about a mean."""
    dose, age = np.exp(0.6 * rng.standard_normal(n_rows)), rng.standard_normal(n_rows)
    return {"dose": dose, "age": age}, outcome(dose, age) + 1.5 * rng.standard_normal(n_rows)


def scores_of(columns, y, terms):
    """Scores of a regression that believes in unit variance, at its estimate."""
    x = np.column_stack([np.ones(len(y)), *columns.values()])
    residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    along = np.einsum("ns,nd,ne->sde", terms.along.contrast, x, x)
    contrast = terms.along.contrast
    return Scores(residual[:, None] * x, (x.T @ x)[None], terms.along.level, contrast, along)


def check(rng, columns, y):
    terms = terms_of(columns)
    scores = scores_of(columns, y, terms)
    return check_form(terms, scores, names=NAMES, fits=["increment-03"], weight=1.0, rng=rng)


def linear(dose, age):
    return 0.5 + 0.4 * dose - 0.3 * age


SHAPES = {
    "a logarithm": (lambda dose, age: 2.0 * np.log(dose), ("dose",), (LOG, SQUARE)),
    "a square": (lambda dose, age: 0.5 * age**2, ("age",), (SQUARE,)),
    "a product": (lambda dose, age: 0.5 * dose * age, ("dose", "age"), (PRODUCT,)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_term_that_is_missing_is_named_with_its_columns(shape):
    outcome, columns, kinds = SHAPES[shape]
    rng = np.random.default_rng(1)
    for _ in range(10):
        finding, found = check(rng, *table(rng, 800, outcome))
        assert finding.p < 1e-3
        assert finding.axis == " and ".join(columns)
        assert (finding.family, finding.kind) == ("form", "misfit")
        leading = found.loc[found["leading"], "term"].item()
        assert leading in {str(Term(kind, columns)) for kind in kinds}
    assert finding.parameter == "intercept"


def test_what_is_said_can_be_done():
    rng = np.random.default_rng(2)
    bent, _ = check(rng, *table(rng, 2_000, SHAPES["a logarithm"][0]))
    assert bent.message.startswith("the effect of dose bends (intercept, ")
    assert bent.message.endswith("log(dose) or a quadratic term fits what is seen")
    square, _ = check(rng, *table(rng, 2_000, SHAPES["a square"][0]))
    assert square.message.endswith(" sds): a quadratic term fits what is seen")
    crossed, _ = check(rng, *table(rng, 2_000, SHAPES["a product"][0]))
    assert crossed.message.startswith("the effects of dose and age depend on each other")
    assert crossed.message.endswith("add dose x age")
    quiet, _ = check(rng, *table(np.random.default_rng(9), 2_000, linear))
    assert quiet.message.startswith("no square, logarithm or product")


def test_only_the_parameter_that_slopes_are_added_to_is_asked_where_there_is_one():
    rng = np.random.default_rng(3)
    _, found = check(rng, *table(rng, 200, linear))
    assert found["term"].tolist() == ["dose^2", "log(dose)", "age^2", "dose x age"]
    assert set(found["parameter"]) == {"intercept"}


def test_without_a_slope_every_parameter_is_asked():
    rng = np.random.default_rng(4)
    columns, y = table(rng, 300, linear)
    terms = terms_of(columns)
    x = np.column_stack([np.cos(columns["dose"]), columns["age"] ** 3])
    residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    along = np.einsum("ns,nd,ne->sde", terms.along.contrast, x, x)
    scores = Scores(
        residual[:, None] * x, (x.T @ x)[None], terms.along.level, terms.along.contrast, along
    )
    _, found = check_form(terms, scores, names=["a", "b"], fits=["f"], weight=1.0, rng=rng)
    assert found.groupby("term")["parameter"].agg(list).map(sorted).tolist() == [["a", "b"]] * 4


def test_the_score_of_a_term_is_the_test_of_that_term_added_to_the_model():
    rng = np.random.default_rng(5)
    columns, y = table(rng, 300, linear)
    _, found = check(rng, columns, y)
    x = np.column_stack([np.ones(300), *columns.values()])
    residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    for term, values in {
        "log(dose)": np.log(columns["dose"]),
        "dose x age": (columns["dose"] - columns["dose"].mean()) * columns["age"],
    }.items():
        added = values - x @ np.linalg.lstsq(x, values, rcond=None)[0]
        z = (added @ residual) / np.sqrt(((added * residual) ** 2).sum())
        assert found.set_index("term").loc[term, "z"] == pytest.approx(z, rel=1e-6)


@pytest.mark.parametrize("n_rows", [60, pytest.param(400, marks=pytest.mark.long)])
def test_true_models_are_rejected_at_the_stated_level(n_rows):
    rng = np.random.default_rng(6)
    p = np.array([check(rng, *table(rng, n_rows, linear))[0].p for _ in range(300)])
    assert 0.012 < (p < 0.05).mean() < 0.09
    assert (p < 0.01).mean() < 0.03


def test_columns_that_do_not_vary_and_models_that_have_every_term_say_so():
    rng = np.random.default_rng(7)
    flag = (rng.random(100) < 0.5).astype(float)
    for columns, reason in [
        ({"dose": np.ones(100)}, "no covariate of the model is a number that varies"),
        ({"flag": flag}, "every term that was asked is one that the model has"),
    ]:
        terms = terms_of(columns)
        scores = scores_of(columns, rng.standard_normal(100), terms)
        finding, found = check_form(terms, scores, names=NAMES, fits=["f"], weight=1.0, rng=rng)
        assert (finding.p, finding.message) == (None, reason)
        assert found.empty


def test_a_replicate_without_a_finite_score_leaves_the_test_to_signs():
    columns, y = table(np.random.default_rng(12), 200, linear)
    terms = terms_of(columns)
    scores = scores_of(columns, y, terms)

    def replicates(n):
        rng = np.random.default_rng(13)
        x = np.column_stack([np.ones(200), *columns.values()])
        drawn = 1.5 * rng.standard_normal((n, 200))[..., None] * x
        drawn[0, 0] = bad
        along = np.einsum("mnd,nc->mcd", drawn, terms.along.contrast)
        yield ScoreSums(drawn.sum(axis=1), along, (drawn**2).sum(axis=1))

    def p(replicates):
        rest = {"names": NAMES, "fits": ["f"], "weight": 1.0, "rng": np.random.default_rng(14)}
        return check_form(terms, scores, replicates, **rest)[0].p

    bad = np.nan
    assert p(replicates) == p(None)
    bad = 0.0
    assert p(replicates) != p(None)
    assert p(replicates) == pytest.approx(p(None), abs=0.1)


def test_with_few_rows_for_each_parameter_nothing_is_asked():
    columns, y = table(np.random.default_rng(15), 29, linear)
    finding, _ = check(np.random.default_rng(16), columns, y)
    assert finding.p is None
    assert finding.message == "form needs at least 10 rows for each of the 3 parameters, got 29"


def test_of_very_many_covariates_products_are_not_asked():
    rng = np.random.default_rng(8)
    columns = {f"x{k}": rng.standard_normal(50) for k in range(form.MOST_CROSSED + 1)}
    assert PRODUCT not in {term.what for term in terms_of(columns).each}
    del columns["x0"]
    assert PRODUCT in {term.what for term in terms_of(columns).each}
    assert LINEAR == terms_of(columns).each[0].what
