"""What each latent site is to the comparison of fits: parameter, index, group, of units or rows."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from test_sites import EVERYTHING, bound_rows

from scalecheck.errors import StudyError
from scalecheck.model import roles, sites
from scalecheck.model.binding import Argument, Model
from scalecheck.model.roles import Dependencies, Role
from scalecheck.model.rows import Rows


def described(tmp_path, common=(), source=EVERYTHING):
    bound, rows = bound_rows(tmp_path, source)
    bound = Model(**(vars(bound) | {"common": frozenset(common)}))
    return bound, sites.describe_sites(bound, rows)


@pytest.mark.parametrize(
    ("common", "unit", "effect", "crossed"),
    [
        ((), None, "group", "group"),
        (("group",), None, "index", "group"),
        (("group", "year"), None, "index", "index"),
        (("year",), "group", "unit", "unit"),
    ],
)
def test_the_data_say_what_is_an_index_and_what_a_group(tmp_path, common, unit, effect, crossed):
    bound, found = described(tmp_path, common)
    told = {role.site: role.role for role in roles.find_roles(bound, found, unit, None)}
    assert told == {
        "mu": "parameter",
        "share": "parameter",
        "effect": effect,
        "crossed": crossed,
        "noise": "row",
    }
    compared = [site.name for site in roles.compared_sites(bound, found, unit, None)]
    expected = [name for name, role in told.items() if role in ("parameter", "index")]
    assert compared == expected


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("[n_group, 3]", "[n_group, 7]"),
        ("dist.Normal(0, 1).expand([n_g", "dist.Normal(mu[0], 1).expand([n_g"),
    ],
)
def test_many_entries_and_a_population_that_is_learned_make_a_group(tmp_path, ours, theirs):
    bound, found = described(tmp_path, ("group",), EVERYTHING.replace(ours, theirs))
    (effect,) = (one for one in roles.find_roles(bound, found, None, None) if one.site == "effect")
    assert effect == Role("effect", "group", ("group",), compared=False)


def test_what_is_compared_can_be_said(tmp_path):
    bound, found = described(tmp_path)
    asked = roles.compared_sites(bound, found, None, ("effect", "mu"))
    assert [site.name for site in asked] == ["effect", "mu"]
    with pytest.raises(StudyError, match="no latent site, did you mean share"):
        roles.compared_sites(bound, found, None, ("shares",))
    with pytest.raises(StudyError, match="names mean, which is no latent site"):
        roles.compared_sites(bound, found, None, ("mean",))
    with pytest.raises(StudyError, match="names effect, which is indexed by group: each fit has"):
        roles.compared_sites(bound, found, "group", ("effect",))
    with pytest.raises(StudyError, match="names noise, which is indexed by rows"):
        roles.compared_sites(bound, found, None, ("noise",))


# ---- what hangs on what


def items(answer=None):
    """Persons and items: a population of persons, easinesses of items, a slope."""
    spread = numpyro.sample("spread", dist.HalfNormal(1))
    mean = numpyro.sample("mean", dist.Normal(0, 1))
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    with numpyro.plate("persons", 3):
        ability = numpyro.sample("ability", dist.Normal(0, spread))
    with numpyro.plate("items", 2):
        easy = numpyro.sample("easy", dist.Normal(mean, 1))
    logits = jnp.zeros(len(answer)) + ability.sum() + easy.sum() + slope
    numpyro.sample("answer", dist.Bernoulli(logits=logits), obs=answer)


@pytest.fixture(scope="module")
def of_items():
    bound = Model(items, "model.py", "answer", {"answer": Argument(("answer",), False)}, {}, False)
    return Dependencies(sites.describe_sites(bound, Rows({"answer": np.zeros(4)}, {})))


def test_what_describes_given_sites_does_not_matter_to_rows(of_items):
    assert of_items.matter_to_rows(["ability", "spread"]) == ["ability", "spread"]
    assert of_items.matter_to_rows(["spread", "mean"]) == []


def test_a_population_reaches_rows_through_units_that_each_fit_has_of_its_own(of_items):
    """Persons are others in each subset, items the same: of their mean no subset has an estimate of its own."""
    assert of_items.reach_rows(["ability"]) == {"ability", "easy", "slope", "spread"}
    assert of_items.reach_rows([]) == {"ability", "easy", "slope"}


def test_a_prior_is_fixed_where_it_depends_on_no_other_site(of_items):
    names = ["spread", "mean", "slope", "ability", "easy"]
    assert [name for name in names if of_items.has_fixed_prior(name)] == ["spread", "mean", "slope"]
