"""Rows of a batch: those of a unit lie together, in whatever order the plan has them."""

import numpy as np
import pytest
import small_studies

from scalecheck.data import store
from scalecheck.model import batches
from scalecheck.model.binding import bind, load_model


def read(small, *fits):
    (batch,) = batches.read_batches(
        small.folder, small.tasks(*fits), "y", small.study.model, "float32"
    )
    return batch


def test_rows_are_sorted_by_unit_in_every_kind_of_fit(everything):
    batch = read(everything, "subset-01", "level-group-01", "axis-group", "increment-01")
    assert len(batch.own) == 4
    for own in batch.own:
        assert (np.diff(own["patient"]) >= 0).all()
        assert own["patient"][0] == 0


def test_levels_that_share_units_are_put_together_row_for_row(everything):
    # Patients are in several groups: level by level, as the plan has them, their rows lie apart.
    names = ("patient", "x1", "y", store.FILE_ROW)
    planned = everything.values("axis-group", *names)
    batch = read(everything, "axis-group")
    assert (batch.values[0][store.FILE_ROW] != planned[store.FILE_ROW]).any()
    order = np.argsort(planned[store.FILE_ROW])
    ours = np.argsort(batch.values[0][store.FILE_ROW])
    for name in names:
        assert (batch.values[0][name][ours] == planned[name][order]).all()
    assert (batch.own[0]["y"] == batch.values[0]["y"].astype("float32")).all()
    # Units keep their numbers, by which posteriors and the rows of the store are brought together.
    first = planned["patient"][np.sort(np.unique(planned["patient"], return_index=True)[1])]
    assert (first[batch.own[0]["patient"]] == batch.values[0]["patient"]).all()


CONTINUED = """
def model(x, patient, n_patient, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("patients", n_patient):
        base = numpyro.sample("base", dist.Normal(0, 0.5))
    before = jnp.concatenate([jnp.zeros(1), x[:-1]])
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(mu * before + base[patient], 1.0), obs=y)
"""


# A prior whose density is thousands of times that of the rows.
CROWDED = CONTINUED.replace(
    "    before", '    numpyro.sample("idle", dist.Normal(0, 1).expand([50_000]))\n    before'
)
ORDERLESS = CONTINUED.replace("x[:-1]", "x[1:] * 0")


@pytest.mark.parametrize("source", [CONTINUED, CROWDED, ORDERLESS])
def test_rows_stay_where_they_are_if_the_model_looks_at_their_order(everything, tmp_path, source):
    path = tmp_path / "model.py"
    path.write_text(small_studies.IMPORTS + source)
    settings = small_studies.read_study.build(
        {
            "study": "s",
            "data": {"file": everything.study.data.file, "outcome": "y"},
            "model": {"file": str(path), "arguments": {"x": "x1"}},
        },
        str(tmp_path / "study.yaml"),
    ).model
    meta = store.read_meta(everything.folder.data)
    bound = bind(load_model(settings), settings, "y", meta.labels, meta.common)
    values = everything.values("axis-group", *batches.stored_columns(bound, "patient"))
    (batch,) = batches.make_batches(
        bound, everything.tasks("axis-group"), [values], meta.labels, "patient", None, "float32"
    )
    as_planned = (batch.values[0][store.FILE_ROW] == values[store.FILE_ROW]).all()
    assert as_planned == (source != ORDERLESS)
