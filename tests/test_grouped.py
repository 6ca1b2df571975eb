"""Products with coefficients of groups: the same numbers and derivatives as of the plain formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scalecheck import grouped

K = 3


def rows(n_rows, n_groups, *, shuffled=True, dtype="float64"):
    """Covariates, coefficients and codes; the last group stays empty where there are several."""
    rng = np.random.default_rng(n_rows + n_groups)
    codes = rng.integers(0, max(1, n_groups - 1), n_rows)
    codes = codes if shuffled else np.sort(codes)
    x, table = rng.normal(size=(n_rows, K)), rng.normal(size=(n_groups, K))
    given = x.astype(dtype), table.astype(dtype), codes.astype("int32")
    return tuple(map(jax.device_put, given))


def plain(x, table, codes):
    return (x * table[codes]).sum(axis=1)


def bent(product):
    """Give a function that is linear in nothing, so that second derivatives are there."""
    return lambda x, table, codes: jnp.sin(product(x, table, codes))


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def small_chunks(monkeypatch):
    """Cut 30 rows of three covariates into chunks of four, and two rows that are left."""
    monkeypatch.setattr(grouped, "_CHUNK", 4 * K)


def assert_equal(one, other, rtol=1e-12):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert np.allclose(a, b, rtol=rtol, atol=rtol)


CASES = {
    "one group": (30, 1),
    "an empty group": (30, 7),
    "more groups than rows": (5, 40),
    "one row": (1, 2),
    "no rows": (0, 3),
}


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_are_those_of_the_plain_formula(case, shuffled):
    given = rows(*CASES[case], shuffled=shuffled)

    def both(product):
        return jax.jit(jax.value_and_grad(lambda *a: bent(product)(*a).sum(), (0, 1)))(*given)

    assert_equal(both(grouped.dot), both(plain))


@pytest.mark.parametrize("n_groups", [8, 100])
def test_in_float32_the_gradient_differs_by_rounding(n_groups):
    x, table, codes = rows(5000, n_groups, dtype="float32")

    def gradient(product, *given):
        of_table = jax.grad(lambda table, x: jnp.sin(product(x, table, codes)).sum())
        return jax.jit(of_table)(given[1], given[0])

    exact = gradient(plain, x.astype("float64"), table.astype("float64"))
    error = jnp.abs(gradient(grouped.dot, x, table) - exact).max() / jnp.abs(exact).max()
    # Each sum has up to 5000/7 terms: rounding of a sum of n terms is at most n epsilons.
    assert error < 5000 / (n_groups - 1) * np.finfo("float32").eps


def _hessian(f, x, table, codes):
    return jax.hessian(lambda table: f(x, table, codes).sum())(table)


def _chains(f, x, table, codes):
    each = jax.grad(lambda table: f(x, table, codes).sum())
    return jax.vmap(each)(jnp.stack([table, 2 * table]))


def _of_chains(f, x, table, codes):
    every = jax.vmap(f, (None, 0, None))
    return jax.grad(lambda tables: every(x, tables, codes).sum())(jnp.stack([table, 2 * table]))


def _fits(f, x, table, codes, n_fits=2):
    each = jax.grad(lambda x, table, codes: f(x, table, codes).sum(), (0, 1))
    chains = jax.vmap(each, (None, 0, None))
    several = (jnp.stack([x, 3 * x]), jnp.stack([table[None], 2 * table[None]]))
    arrays = (*several, jnp.stack([codes, codes[::-1]]))
    return jax.vmap(chains)(*(array[:n_fits] for array in arrays))


TRANSFORMS = {
    "forward": lambda f, x, table, codes: jax.jacfwd(f, (0, 1))(x, table, codes),
    "reverse, row by row": lambda f, x, table, codes: jax.jacrev(f, (0, 1))(x, table, codes),
    "second order": _hessian,
    "chains": _chains,
    "a sum over chains": _of_chains,
    "fits": _fits,
    "a fit alone": lambda *given: _fits(*given, n_fits=1),
    "coefficients that fits share": lambda f, x, table, codes: jax.vmap(f, (0, None, None))(
        jnp.stack([x, 3 * x]), table, codes
    ),
}


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transformations_of_jax_see_the_plain_formula(name):
    given = rows(30, 7)

    def transformed(product):
        return jax.jit(lambda *given: TRANSFORMS[name](bent(product), *given))(*given)

    assert_equal(transformed(grouped.dot), transformed(plain))


@pytest.mark.parametrize("n_groups", [7, grouped._FEW + 1])
def test_what_other_devices_run_is_the_same(n_groups):
    x, table, codes = rows(30, n_groups)
    tables, weights = jnp.stack([table, 2 * table]), jnp.stack([x[:, 0], x[:, 1]])
    assert_equal(grouped._dot_whole(x, tables, codes), grouped._dot_in_chunks(x, tables, codes))
    given = {"n_groups": n_groups}
    assert_equal(
        grouped._sum_whole(x, weights, codes, **given),
        grouped._sum_in_chunks(x, weights, codes, **given),
    )


def _gradient_for_cuda(n_groups):
    """The program of a gradient as JAX gives it to the compiler of a GPU."""
    gradient = jax.grad(lambda table, x, codes: bent(grouped.dot)(x, table, codes).sum())
    x, table, codes = rows(200, n_groups)
    return jax.jit(gradient).trace(table, x, codes).lower(lowering_platforms=("cuda",)).as_text()


def test_on_a_gpu_rows_of_few_groups_are_added_up_by_a_matrix_product_not_one_by_one():
    few, many = _gradient_for_cuda(8), _gradient_for_cuda(grouped._FEW + 1)
    assert "stablehlo.scatter" not in few
    assert "stablehlo.dot_general" in few
    assert "stablehlo.scatter" in many
    assert "stablehlo.while" not in few + many


def test_each_row_takes_the_value_of_its_group():
    _, table, codes = rows(30, 7)
    values = table[:, 0]

    def both(take):
        return jax.jit(jax.value_and_grad(lambda v: jnp.sin(take(v, codes)).sum()))(values)

    assert_equal(grouped.take(values, codes), values[codes])
    assert_equal(both(grouped.take), both(lambda v, codes: v[codes]))


def test_shapes_that_do_not_belong_together_are_named():
    x, table, codes = rows(30, 7)
    with pytest.raises(ValueError, match=r"x \(30, 2\) must have the columns of table \(7, 3\)"):
        grouped.dot(x[:, :2], table, codes)
