"""What is stored of a fit: a DataTree that ArviZ reads, and a record that hides nothing."""

import importlib.metadata

import numpy as np
import numpyro  # noqa: F401  (in full before arviz_base, which loads it lazily)
import pytest
import xarray as xr

from scalecheck import ENGINE_VERSION
from scalecheck.files import formats, posterior_file
from scalecheck.fitting import fit_record
from scalecheck.model.rows import local_codes

GROUPS = {"posterior", "unconstrained_posterior", "sample_stats", "warmup_sample_stats"}


@pytest.fixture(scope="module")
def trees(rich, tmp_path_factory):
    """Write every fit of the batch and read it back as ArviZ does."""
    folder = tmp_path_factory.mktemp("trees")
    found = {}
    for number, task in enumerate(rich.fitted.batch.tasks):
        path = folder / f"{task.fit}.nc"
        posterior_file.write_posterior(path, fit_record.datasets(rich.fitted, number, None))
        found[task.fit] = xr.open_datatree(path)
    yield found
    for tree in found.values():
        tree.close()


def test_the_tree_has_its_groups_and_named_dims(trees):
    tree = trees["subset-01"]
    assert set(tree.children) == GROUPS
    dims = {name: variable.dims for name, variable in tree["posterior"].data_vars.items()}
    assert dims == {
        "mu": ("chain", "draw"),
        "rate": ("chain", "draw"),
        "share": ("chain", "draw", "share_dim_0"),
        "beta": ("chain", "draw", "beta_dim_0"),
        "effect": ("chain", "draw", "group"),
        "base": ("chain", "draw", "patient"),
        "scale": ("chain", "draw"),
    }
    for group in ("sample_stats", "warmup_sample_stats"):
        assert {v.dims for v in tree[group].data_vars.values()} == {("chain", "draw")}
        names = {
            "n_steps",
            "tree_depth",
            "diverging",
            "energy",
            "acceptance_rate",
            "step_size",
            "lp",
        }
        assert set(tree[group].data_vars) == names
    assert tree["sample_stats"]["diverging"].dtype == bool
    assert tree["warmup_sample_stats"].sizes["draw"] == 100
    assert tree["posterior"].attrs["inference_library"] == "numpyro"


def test_a_site_indexed_by_text_carries_its_labels(trees):
    for tree in trees.values():
        assert tree["posterior"]["group"].to_numpy().tolist() == ["a", "b", "c"]


def test_units_are_local_to_the_fit_and_carry_their_own_labels(rich, trees):
    batch = rich.fitted.batch
    sizes = set()
    for number, task in enumerate(batch.tasks):
        codes = batch.values[number]["patient"]
        labels = np.array(batch.labels["patient"])
        found = trees[task.fit]["posterior"]["patient"].to_numpy()
        np.testing.assert_array_equal(found, labels[local_codes(codes)[1]])
        np.testing.assert_array_equal(
            found[batch.arrays["patient"][number][: task.rows]], labels[codes]
        )
        sizes.add(len(found))
    assert len(sizes) > 1  # fits of a batch differ in their units, which are padded to one number
    assert batch.arrays["x"].shape[2] == 2


def test_values_lie_in_their_supports(trees):
    for tree in trees.values():
        sites = tree["posterior"]
        assert ((sites["rate"] > 0) & (sites["rate"] < 3)).all()
        assert (sites["share"] > 0).all()
        np.testing.assert_allclose(sites["share"].sum("share_dim_0"), 1, rtol=1e-5)


def test_an_argument_without_a_column_keeps_its_default_and_deterministic_sites_are_kept(trees):
    sites = trees["subset-01"]["posterior"]
    np.testing.assert_allclose(sites["scale"], 2.0 * sites["rate"], rtol=1e-6)


def test_compared_parameters_are_one_unconstrained_vector(rich, trees):
    z = trees["subset-01"]["unconstrained_posterior"]["z"]
    assert z.dims == ("chain", "draw", "parameter")
    names = ["mu", "rate", "share[0]", "share[1]"]
    names += ["beta[0]", "beta[1]", "effect[a]", "effect[b]", "effect[c]"]
    assert z["parameter"].to_numpy().tolist() == names
    sites = trees["subset-01"]["posterior"]
    np.testing.assert_allclose(z.sel(parameter="mu"), sites["mu"])
    rate = 3 / (1 + np.exp(-z.sel(parameter="rate")))
    np.testing.assert_allclose(rate, sites["rate"], rtol=1e-5)


def test_row_indexed_sites_are_left_out_unless_asked_for(rich):
    number = 3
    task = rich.fitted.batch.tasks[number]
    group = fit_record.datasets(rich.fitted, number, ("mean",))["posterior"]
    assert set(group.variables) == {"mu", "rate", "share", "effect", "beta", "mean"}
    dims, mean = group.variables["mean"]
    assert tuple(dims) == ("chain", "draw", "row")
    assert mean.shape[2] == task.rows < rich.fitted.batch.arrays["y"].shape[1]
    rows = rich.fitted.batch.values[number]
    assert list(group.coords["row"]) == rows["__row"].tolist()


def test_arviz_reads_the_tree(trees):
    import arviz_stats as azs

    tree = trees["subset-01"]
    summary = azs.summary(tree, round_to="none")
    assert {"mu", "effect[a]", "share[2]"} <= set(summary.index)
    draws = tree["posterior"]["mu"].to_numpy()
    assert float(summary.loc["mu", "mean"]) == pytest.approx(draws.mean(), rel=1e-5)
    for statistic in (azs.ess, azs.rhat):
        found = statistic(tree)
        assert found["effect"].sizes == {"group": 3}
        assert np.isfinite(found["mu"])
    assert (azs.bfmi(tree)["energy"] > 0).all()


# ---- the record


def test_the_record_has_everything(conjugate):
    record = conjugate.read("subset-01").record
    assert set(record.seconds) == {"import", "compile", "warmup", "sampling"}
    assert set(record.cpu_seconds) == set(record.seconds)
    assert all(value > 0 for value in record.seconds.values())
    assert record.versions["numpyro"] == importlib.metadata.version("numpyro")
    assert {"python", "scalecheck", "jax", "jaxlib", "numpy", "xarray"} < set(record.versions)
    assert (record.platform, record.device, record.note) == ("cpu", "cpu", "")
    assert record.dtype == "float32"
    assert record.seconds_per_gradient > 0
    assert record.usable is True
    assert record.draws == conjugate.read("subset-01").z.shape[1]
    assert len(record.step_size) == len(record.divergences) == 4
    assert record.parameters == ["mu"]
    assert record.windows[-1].stop == 200
    for window in record.windows:
        assert np.shape(window.step_size) == np.shape(window.acceptance_rate) == (4,)
        assert np.shape(window.inverse_mass_matrix) == (4, 1)
    assert (record.status, record.reason, record.engine_version) == (
        "done",
        "",
        ENGINE_VERSION,
    )
    plan = {
        "fit": "subset-01",
        "kind": "subset",
        "axis": "",
        "level": "",
        "rows": 40,
        "new_rows": 40,
    }
    assert {name: getattr(record, name) for name in plan} == plan


def test_gradients_are_the_leapfrogs_of_each_chain(conjugate):
    for name in ("subset-02", "increment-02"):
        result = conjugate.read(name)
        for part, group in (("warmup", "warmup_sample_stats"), ("sampling", "sample_stats")):
            n_steps = result.tree[group]["n_steps"].sum("draw").to_numpy()
            assert getattr(result.record.gradients, part) == n_steps.tolist()


def test_seconds_of_a_batch_are_shared_by_leapfrogs_and_add_up(conjugate):
    fits = formats.read_json(conjugate.folder.path / "fits" / "batch-1-of-1.json")["fits"]
    found = [conjugate.read(name).record for name in fits]
    assert sum(one.seconds["import"] for one in found) == pytest.approx(0.3)
    assert sum(one.cpu_seconds["import"] for one in found) == pytest.approx(0.2)
    assert len({one.seconds["compile"] for one in found}) == 1
    for part in ("warmup", "sampling"):
        pace = [one.seconds[part] / sum(getattr(one.gradients, part)) for one in found]
        assert pace == pytest.approx([pace[0]] * len(pace))


def test_seconds_of_the_records_are_those_of_the_sampler(rich):
    settings, elapsed = rich.small.study.sampler, rich.fitted.draws.seconds
    found = [
        fit_record.record(rich.fitted, number, settings, {}, {}, (0.1, 0.1)).seconds
        for number in range(len(rich.fitted.batch.tasks))
    ]
    for part in ("compile", "warmup", "sampling"):
        assert sum(one[part] for one in found) == pytest.approx(getattr(elapsed, part))
