"""What is said of a model before its fits: who was misunderstood sees it, and the key that corrects it."""

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.examine.understanding import understand
from scalecheck.model.binding import Argument, Model
from scalecheck.study import read_study

LABELS = {"y": None, "x": None, "kind": ["a", "b", "c"], "person": [str(n) for n in range(90)]}
RAREST = {"kind": 40, "person": 2}
COLUMNS = ("x", "kind", "person", "y")


def model(x, kind, n_kind, person, n_person, y=None):
    """An effect of each kind, a population of persons, a slope."""
    spread = numpyro.sample("spread", dist.HalfNormal(1))
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    effect = numpyro.sample("effect", dist.Normal(0, 1).expand([n_kind]).to_event(1))
    with numpyro.plate("persons", n_person):
        ability = numpyro.sample("ability", dist.Normal(0, spread))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(effect[kind] + ability[person] + slope * x, 1), obs=y)


def understood(tmp_path, *, common=("kind",), unit=None, compare=None, **sections):
    (tmp_path / "d.csv").touch()
    (tmp_path / "model.py").touch()
    study = read_study.build(
        {
            "study": "s",
            "data": {"file": str(tmp_path / "d.csv"), "outcome": "y", "axes": ["kind"]},
            "model": {"file": str(tmp_path / "model.py")},
            **sections,
        },
        str(tmp_path / "study.yaml"),
    )
    arguments = {name: Argument((name,), matrix=False) for name in COLUMNS}
    counts = {"n_kind": "kind", "n_person": "person"}
    bound = Model(model, "model.py", "y", arguments, counts, False, frozenset(common))
    few = {"x": np.ones(2), "y": np.ones(2), "kind": np.arange(2), "person": np.arange(2)}
    likelihood = Likelihood(bound, LABELS, unit, compare, few)
    found: dict[str, list[str]] = {}
    for one in understand(likelihood, study, RAREST, few):
        found.setdefault(one.topic, []).append(one.sentence)
    return found


@pytest.mark.parametrize(
    ("given", "topic", "words"),
    [
        ({}, "compared", "spread, slope and effect are compared across fits"),
        ({}, "index", "effect has an entry for each of 3 levels of kind (the rarest has 40 rows)"),
        (
            {},
            "group",
            "ability is a group, with 90 levels of person (the rarest has 2 rows), drawn from",
        ),
        (
            {},
            "group",
            "a population that spread describes: not compared (data.unit: person keeps them",
        ),
        (
            {},
            "shared",
            "spread describes levels that all subsets share: agreement of subsets leaves it out",
        ),
        ({}, "shared", "all subsets share ability: that they agree too well is not asked"),
        (
            {},
            "heterogeneity",
            "will not run: the latent site ability is a group, indexed by person",
        ),
        (
            {"common": ()},
            "group",
            "effect is a group, with 3 levels of kind (the rarest has 40 rows), of which",
        ),
        (
            {"unit": "person"},
            "unit",
            "ability belongs to the units of person: each fit has its own",
        ),
        (
            {"compare": ("slope", "ability")},
            "compared",
            "model.compare leaves out spread and effect",
        ),
        ({"compare": ("slope", "ability")}, "group", "compared, because model.compare names it"),
        ({"subsets": {"count": 2}}, "agreement", "subsets.count is 2, and it compares at least 3"),
    ],
)
def test_it_is_said_how_a_model_was_understood(tmp_path, given, topic, words):
    assert words in " | ".join(understood(tmp_path, **given)[topic])


def test_it_is_said_which_code_each_label_of_the_outcome_has(tmp_path, monkeypatch):
    monkeypatch.setitem(LABELS, "y", ["high", "low"])
    said = understood(tmp_path, unit="person")["outcome"]
    assert said[1] == "y holds labels: high = 0, low = 1 (data.categories can give their order)"


def test_nothing_is_said_of_families_that_will_run(tmp_path):
    said = understood(tmp_path, unit="person")
    assert set(said) == {"outcome", "rows", "compared", "index", "unit"}
    assert said["outcome"] == ["y is continuous"]
    assert said["rows"] == ["rows are independent, given the parameters"]
