"""The transitions of a lane one by one, its metric and its adaptation, beside those of NumPyro."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.hmc_util import IntegratorState, _is_turning, warmup_adapter

from scalecheck.sampler import Settings, lane_state, metric, nuts_step, warmup_adaptation

D = 4
LAYOUTS = {
    "diagonal": metric.lay_out({"a": np.zeros(3), "b": np.zeros(1)}, ()),
    "dense": metric.lay_out({"a": np.zeros(3), "b": np.zeros(1)}, (("a", "b"),)),
    "block": metric.lay_out({"a": np.zeros(3), "b": np.zeros(1)}, (("a",),)),
}


def random_metric(layout, rng):
    parts = []
    for part in layout:
        root = rng.normal(size=(len(part.places), len(part.places)))
        parts.append(
            root @ root.T + np.eye(len(root)) if part.dense else rng.gamma(3, size=len(root))
        )
    roots = [np.linalg.cholesky(np.linalg.inv(p)) if p.ndim == 2 else p**-0.5 for p in parts]
    as_arrays = lambda values: tuple(jnp.asarray(v, "float32") for v in values)  # noqa: E731
    return metric.Metric(as_arrays(parts), as_arrays(roots))


def whole(layout, parts):
    """The matrix that the blocks make."""
    found = np.zeros((D, D))
    for part, values in zip(layout, parts, strict=True):
        found[np.ix_(part.places, part.places)] = values if part.dense else np.diag(values)
    return found


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_metric_is_the_matrix_of_its_blocks(layout):
    rng = np.random.default_rng(7)
    one = random_metric(layout, rng)
    r = jnp.asarray(rng.normal(size=(5, D)), "float32")
    inverse = whole(layout, one.inverse)
    np.testing.assert_allclose(
        metric.velocity(layout, one, r), np.asarray(r) @ inverse, rtol=1e-4, atol=1e-4
    )
    assert float(metric.kinetic(layout, one, r[0])) == pytest.approx(
        float(r[0] @ inverse @ r[0]) / 2, rel=1e-4
    )
    np.testing.assert_allclose(metric.diagonal(layout, one), np.diag(inverse), rtol=1e-6)
    momenta = np.stack([metric.momentum(layout, one, row) for row in jnp.eye(D)])
    np.testing.assert_allclose(momenta.T @ momenta, np.linalg.inv(inverse), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "layout", [LAYOUTS["diagonal"], LAYOUTS["dense"]], ids=["diagonal", "dense"]
)
def test_the_u_turn_criterion_is_that_of_numpyro(layout):
    rng = np.random.default_rng(8)
    one = random_metric(layout, rng)
    left, right, total = jnp.asarray(rng.normal(size=(3, 200, D)), "float32")
    ours = jax.jit(jax.vmap(lambda *sides: metric.is_turning(layout, one, *sides)))
    theirs = jax.jit(jax.vmap(lambda *sides: _is_turning(one.inverse[0], *sides)))
    np.testing.assert_array_equal(ours(left, right, total), theirs(left, right, total))


@pytest.fixture
def one_lane():
    layout, at = LAYOUTS["diagonal"], jax.value_and_grad(lambda z: 0.5 * jnp.sum(z**2))
    z = jnp.asarray([0.5, -1.0, 0.2, 2.0])
    resting = lane_state.rest(jax.random.PRNGKey(1), z, *at(z), metric.identity(layout, z.dtype), 5)
    normal = jnp.asarray([0.3, -0.1, 1.2, 0.4])
    begun = nuts_step.begin(
        resting._replace(step_size=jnp.float32(0.1)), normal, jnp.uint32(0b10), layout
    )
    return begun, at, layout


def test_an_iteration_begins_where_the_last_one_ended_with_a_new_energy(one_lane):
    begun, _, _ = one_lane
    assert float(begun.energy) == pytest.approx(0.5 * (5.29 + 1.7))
    np.testing.assert_array_equal(begun.front.z, begun.tree.candidate.z)
    assert (float(begun.direction), int(begun.depth), int(begun.n_steps)) == (-1.0, 0, 0)


def test_a_leapfrog_turned_round_leads_back(one_lane):
    begun, at, layout = one_lane
    there, _ = nuts_step.leapfrog(begun, at, layout)
    assert float(jnp.abs(there.front.z - begun.front.z).max()) > 0.01
    back, leaf = nuts_step.leapfrog(there._replace(direction=-there.direction), at, layout)
    np.testing.assert_allclose(back.front.z, begun.front.z, atol=1e-6)
    np.testing.assert_allclose(back.front.r, begun.front.r, atol=1e-6)
    assert float(leaf.energy) == pytest.approx(float(begun.energy), rel=1e-5)


def test_a_subtree_draws_among_its_leaves_by_weight(one_lane):
    begun, at, layout = one_lane
    one, first = nuts_step.leapfrog(begun, at, layout)
    first = first._replace(energy=begun.energy + np.log(2.0))
    one, diverging = nuts_step.grow(one, first, jnp.float32(0.99), symmetric=False)
    assert not diverging
    second = first._replace(energy=begun.energy, z=first.z + 1)
    for u, taken in ((0.66, second), (0.67, first)):  # weights 1/2 and 1
        grown, _ = nuts_step.grow(one, second, jnp.float32(u), symmetric=False)
        np.testing.assert_array_equal(grown.subtree.candidate.z, taken.z)
    assert float(jnp.exp(grown.subtree.log_weight)) == pytest.approx(1.5, rel=1e-5)
    assert float(grown.accept) == pytest.approx(1.5, rel=1e-5)


@pytest.mark.parametrize("energy", [1e4, np.nan, np.inf])
def test_a_leaf_of_far_too_much_energy_diverges_and_is_never_taken(one_lane, energy):
    begun, at, layout = one_lane
    moved, leaf = nuts_step.leapfrog(begun, at, layout)
    grown, diverging = nuts_step.grow(
        moved, leaf._replace(energy=jnp.float32(energy)), jnp.float32(0), symmetric=False
    )
    assert bool(diverging)
    joined = nuts_step.join(grown, diverging, jnp.float32(0))
    np.testing.assert_array_equal(joined.tree.candidate.z, begun.tree.candidate.z)
    assert float(grown.accept) == pytest.approx(0.0, abs=1e-6)


def test_a_reversal_goes_on_from_the_other_end(one_lane):
    begun, at, layout = one_lane
    moved, _ = nuts_step.leapfrog(begun, at, layout)
    turned = nuts_step.reverse(moved._replace(depth=jnp.int32(1)))  # the second coin says forward
    assert float(turned.direction) == 1.0
    np.testing.assert_array_equal(turned.front.z, moved.back.z)
    np.testing.assert_array_equal(turned.back.z, moved.front.z)


# ---- adaptation


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("warmup", [15, 60, 150, 400])
def test_warmup_learns_what_that_of_numpyro_learns(dense, warmup):
    rng = np.random.default_rng(9)
    z = (rng.normal(size=(warmup, 3)) @ np.diag([1, 3, 0.2])).astype("float32")
    rates = rng.beta(4, 1, size=warmup).astype("float32")
    init, update = warmup_adapter(warmup, dense_mass=dense)
    theirs = init(IntegratorState(z[0]), jax.random.PRNGKey(1), mass_matrix_size=3)
    layout = metric.lay_out({"z": z[0]}, (("z",),) if dense else ())
    plan = warmup_adaptation.plan_warmup(Settings(warmup, 0.8, 10, ()), "float32")
    own_metric = metric.identity(layout, z.dtype)
    own = warmup_adaptation.start(layout, len(plan.stops), jnp.float32(1), 3)
    ours = jax.jit(
        lambda seen, m, s: warmup_adaptation.update(layout, plan, seen, m, s, fisher=False)
    )
    update = jax.jit(update)
    for i in range(warmup):
        theirs = update(i, rates[i], IntegratorState(z[i]), theirs)
        seen = warmup_adaptation.EndedIteration(jnp.int32(i), rates[i], z[i], z[i])
        size, own_metric, own = ours(seen, own_metric, own)
        assert float(size) == pytest.approx(float(theirs.step_size), rel=1e-5)
    np.testing.assert_allclose(own_metric.inverse[0], theirs.inverse_mass_matrix, rtol=1e-5)
    np.testing.assert_allclose(own_metric.root[0], theirs.mass_matrix_sqrt, rtol=1e-5)
