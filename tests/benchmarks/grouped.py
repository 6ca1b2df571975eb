"""Processor time of one gradient of a hierarchical logistic regression, written in several ways, side by side.

    .venv/bin/python tests/benchmarks/grouped.py
    .venv/bin/python tests/benchmarks/grouped.py --rows 100000 --groups 8

The model and the data are those of config/studies/logistic_groups; `plain` is the same model as one writes
it at first. A round takes each way once: once as a call of `value_and_grad` of the potential, and once as
three gradients one after the other inside one program, as a sampler takes them, where memory is not asked
for anew. Adds a line for each way to tests/benchmarks/results/grouped.csv: medians over the rounds in
milliseconds of processor time, their ratio to `plain`, and the largest difference of a gradient from
that of `plain`, relative to the largest of its site. Rows are sorted by group but where it says otherwise.
"""

import argparse
import datetime
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(Path(__file__).parents[1]))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import numpyro  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
import pandas as pd  # noqa: E402
from numpyro.infer.util import potential_energy  # noqa: E402
from study_files import load  # noqa: E402

from scalecheck import grouped  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "grouped.csv"
IN_LOOP = 3

# alpha, beta, sigma_alpha, sigma_gamma, z_alpha, z_gamma, x, group -> logits
Logits = Callable[..., Any]


def model_of(logits: Logits) -> Callable[..., None]:
    """Give the model of the study with these logits."""

    def model(x: Any, group: Any, n_group: int, y: Any = None) -> None:
        k = x.shape[1]
        alpha = numpyro.sample("alpha", dist.Normal(0.0, 1.5))
        beta = numpyro.sample("beta", dist.Normal(0.0, 1.0).expand([k]).to_event(1))
        s_alpha = numpyro.sample("sigma_alpha", dist.HalfNormal(1.0))
        s_gamma = numpyro.sample("sigma_gamma", dist.HalfNormal(0.5).expand([k]).to_event(1))
        with numpyro.plate("groups", n_group):
            z_alpha = numpyro.sample("z_alpha", dist.Normal(0.0, 1.0))
            z_gamma = numpyro.sample("z_gamma", dist.Normal(0.0, 1.0).expand([k]).to_event(1))
        with numpyro.plate("rows", x.shape[0]):
            eta = logits(alpha, beta, s_alpha, s_gamma, z_alpha, z_gamma, x, group)
            numpyro.sample("y", dist.Bernoulli(logits=eta), obs=y)

    return model


def plain(alpha: Any, beta: Any, s_a: Any, s_g: Any, z_a: Any, z_g: Any, x: Any, group: Any) -> Any:
    """Add up per row, as one writes it at first."""
    alpha_group, gamma = s_a * z_a, s_g * z_g
    return alpha + alpha_group[group] + (x * (beta + gamma[group])).sum(-1)


def by_group(
    alpha: Any,
    beta: Any,
    s_a: Any,
    s_g: Any,
    z_a: Any,
    z_g: Any,
    x: Any,
    group: Any,
    *,
    dot: Any,
    take: Any,
) -> Any:
    """Add up per group what can be, and multiply each row by the coefficients of its group."""
    return take(alpha + s_a * z_a, group) + dot(x, beta + s_g * z_g, group)


def with_gradient(forward: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    """Give a product `(x, table, codes)` whose gradient by the table is `backward(ct, x, codes, groups)`."""

    @jax.custom_vjp
    def dot(x: Any, table: Any, codes: Any) -> Any:
        return forward(x, table, codes)

    dot.defvjp(
        lambda x, table, codes: (forward(x, table, codes), (x, table, codes)),
        lambda kept, ct: (None, backward(ct, kept[0], kept[2], len(kept[1])), None),
    )
    return dot


def _rowwise(x: Any, table: Any, codes: Any) -> Any:
    return (x * table[codes]).sum(-1)


def _add_rows(ct: Any, x: Any, codes: Any, n: int, *, are_sorted: bool = True) -> Any:
    return jax.ops.segment_sum(ct[:, None] * x, codes, n, indices_are_sorted=are_sorted)


def _covariate_by_covariate(x: Any, table: Any, codes: Any) -> Any:
    return sum(x[:, i] * table[:, i][codes] for i in range(x.shape[1]))


def _add_covariates(ct: Any, x: Any, codes: Any, n: int) -> Any:
    columns = jax.lax.map(
        lambda column: jax.ops.segment_sum(ct * column, codes, n, indices_are_sorted=True), x.T
    )
    return columns.T


def _indicators(ct: Any, x: Any, codes: Any, n: int) -> Any:
    return ((codes[:, None] == jnp.arange(n)) * ct[:, None]).T @ x


def ways(n_groups: int) -> dict[str, tuple[Logits, str]]:
    """Give logits and the order of rows, by the name of the way."""
    of = partial(partial, by_group, take=lambda values, codes: values[codes])
    ours = partial(by_group, take=grouped.take, dot=grouped.dot)
    product = with_gradient
    found: dict[str, tuple[Logits, str]] = {
        "plain": (plain, "sorted"),
        "plain, rows shuffled": (plain, "shuffled"),
        "coefficients added up by group": (of(dot=_rowwise), "sorted"),
        "+ sorted segment sum": (of(dot=product(_rowwise, _add_rows)), "sorted"),
        "+ one covariate after the other": (
            of(dot=product(_covariate_by_covariate, _add_covariates)),
            "sorted",
        ),
        "+ covariates stored one after the other": (
            of(dot=product(_covariate_by_covariate, _add_covariates)),
            "columns",
        ),
        "scalecheck.grouped, in chunks": (ours, "sorted"),
        "scalecheck.grouped, rows shuffled": (ours, "shuffled"),
    }
    if n_groups <= 64:
        found["+ matrix product with indicators"] = (
            of(dot=product(_rowwise, _indicators)),
            "sorted",
        )
    return found


def in_order(table: pd.DataFrame, order: str) -> dict[str, jax.Array]:
    """Give the arrays of the model, rows by group or shuffled."""
    table = table.sort_values("group", kind="stable") if order != "shuffled" else table
    x = table.filter(like="x").to_numpy("float32")
    arrays = {"group": table["group"].to_numpy("int32"), "y": table["y"].to_numpy("float32")}
    if order == "columns":  # the model turns them back: to the compiler that is a name, no copy
        return {"x": jnp.asarray(np.ascontiguousarray(x.T))} | jax.tree.map(jnp.asarray, arrays)
    return {"x": jnp.asarray(x)} | jax.tree.map(jnp.asarray, arrays)


def programs(logits: Logits, order: str, n_groups: int) -> tuple[Any, Any]:
    """Give a call of `value_and_grad`, and a program of several gradients, of `(z, arrays)`."""

    def potential(z: Any, arrays: Any) -> Any:
        x = arrays["x"].T if order == "columns" else arrays["x"]
        given = {**arrays, "x": x, "n_group": n_groups}
        return potential_energy(model_of(logits), (), given, z)

    def several(z: Any, arrays: Any) -> Any:
        # Each gradient needs the one before, or it would be taken once; the step is too small to move.
        def step(_: int, z: Any) -> Any:
            return jax.tree.map(lambda a, g: a - 1e-30 * g, z, jax.grad(potential)(z, arrays))

        return jax.lax.fori_loop(0, IN_LOOP, step, z)

    return jax.jit(jax.value_and_grad(potential)), jax.jit(several)


def cpu_ms(program: Any, *arguments: Any) -> float:
    """Milliseconds of processor time of one call."""
    began = time.process_time()
    jax.block_until_ready(program(*arguments))
    return 1e3 * (time.process_time() - began)


def main() -> None:
    """Time every way, and write what each took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--groups", type=int, default=100_000)
    parser.add_argument("--covariates", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    rows = load("logistic_groups", "rows")
    table = rows.simulate(given.rows, given.groups, given.covariates).rows
    arrays = {order: in_order(table, order) for order in ("sorted", "shuffled", "columns")}
    k, n_groups = given.covariates, given.groups
    shapes = {"alpha": (), "beta": (k,), "sigma_alpha": (), "sigma_gamma": (k,)}
    shapes |= {"z_alpha": (n_groups,), "z_gamma": (n_groups, k)}
    rng = np.random.default_rng(0)
    z = {name: jnp.asarray(rng.normal(0, 0.1, s), "float32") for name, s in shapes.items()}
    compiled, off = {}, {}
    reference: Any = None
    for name, (logits, order) in ways(n_groups).items():
        compiled[name] = (*programs(logits, order, n_groups), arrays[order])
        gradient = compiled[name][0](z, arrays[order])[1]
        jax.block_until_ready(compiled[name][1](z, arrays[order]))
        reference = reference or gradient
        off[name] = max(
            float(jnp.abs(gradient[site] - reference[site]).max() / jnp.abs(reference[site]).max())
            for site in shapes
        )
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in compiled}
    for _ in range(given.rounds):
        for name, (once, several, own) in compiled.items():
            taken[name].append((cpu_ms(once, z, own), cpu_ms(several, z, own) / IN_LOOP))
    lines = []
    for name, times in taken.items():
        call, loop = (statistics.median(part) for part in zip(*times, strict=True))
        lines.append({"way": name, "call_ms": call, "loop_ms": loop, "off": off[name]})
    found = pd.DataFrame(lines)
    for kind in ("call", "loop"):
        found[f"{kind}_ratio"] = found[f"{kind}_ms"] / found[f"{kind}_ms"][0]
    found = found.round(2).assign(off=found["off"].map("{:.0e}".format))
    settings = {
        "date": datetime.date.today().isoformat(),
        "jax": jax.__version__,
        "numpyro": numpyro.__version__,
        "rows": given.rows,
        "groups": n_groups,
        "covariates": k,
    }
    print(found.to_string(index=False))
    found = pd.concat([pd.DataFrame([settings] * len(found)), found], axis=1)
    RESULTS.parent.mkdir(exist_ok=True)
    found.to_csv(RESULTS, mode="a", header=not RESULTS.exists(), index=False)


if __name__ == "__main__":
    main()
