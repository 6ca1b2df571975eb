"""Coefficients that groups have of their own, for models: their product with covariates, and a fast gradient of it.

What AD makes of `(x * table[codes]).sum(1)` writes and reads matrices as large as `x` several times.
Here both the sum and its transpose, which adds up rows by group, go through the rows in chunks that
stay in a processor's cache. With few groups and not on a processor, they are matrix products instead:
adding 100,000 rows up to 8 sums there lets most of the additions wait for each other.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float, Int

# Numbers of a chunk of rows: half a megabyte in float32.
_CHUNK = 2**17
# With at most so many groups a matrix product with their indicators is cheap.
_FEW = 32


def take(values: Float[Array, " group"], codes: Int[Array, " row"]) -> Float[Array, " row"]:
    """Give each row the value of its group, `values[codes]`.

    Parameters
    ----------
    values
        `(groups,)`
    codes
        `(rows,)` the group of each row, from 0, in any order.
    """
    return dot(jnp.ones((len(codes), 1), values.dtype), values[:, None], codes)


def dot(
    x: Float[Array, "row k"], table: Float[Array, "group _"], codes: Int[Array, " _"]
) -> Float[Array, " row"]:
    """Multiply each row by the coefficients of its group, `(x * table[codes]).sum(1)`.

    It is fastest where rows of a group lie side by side, as those of `data.unit` do. Forward and
    reverse differentiation and `vmap` work as for any function of JAX.

    Parameters
    ----------
    x
        `(rows, k)` covariates.
    table
        `(groups, k)` coefficients by group.
    codes
        `(rows,)` the group of each row, from 0, in any order. What a code outside of the table gives
        is not defined.

    Raises
    ------
    ValueError
        When `x`, `(rows, k)`, and `table`, `(groups, k)`, have not the same number of columns, or `x` and
        `codes`, `(rows,)`, not the same number of rows.
    """
    if x.shape[1] != table.shape[1] or x.shape[0] != codes.shape[0]:
        raise ValueError(
            f"x {x.shape} must have the columns of table {table.shape} and the rows of codes {codes.shape}"
        )
    dtype = jnp.result_type(x, table)
    return _dot.bind(x.astype(dtype), table.astype(dtype)[None], codes)[0]


# Two primitives, so that each is the transpose of the other: `jax.custom_vjp` knows no forward mode, which the
# checks differentiate by. A table has a leading dimension of tables that share `x` and `codes`: chains.
_dot = Primitive("grouped_dot")
_sum = Primitive("grouped_sum")


def _each(function: Callable[..., Any], tables: Any) -> jax.Array:
    """Call a function with each of several tables; with a single one as if there were no others, which is faster."""
    return function(tables[0])[None] if len(tables) == 1 else jax.vmap(function)(tables)


def _rows(table: Any, codes: Any) -> jax.Array:
    return table.at[codes].get(mode="promise_in_bounds")


def _dot_rows(x: Any, table: Any, codes: Any) -> jax.Array:
    return jnp.einsum("nk,nk->n", x, _rows(table, codes), precision="highest")


def _add_rows(sums: Any, x: Any, weights: Any, codes: Any) -> jax.Array:
    return sums.at[codes].add(weights[:, None] * x, mode="promise_in_bounds")


def _dot_in_chunks(x: Any, table: Any, codes: Any) -> jax.Array:
    size = _chunk(x, len(table))

    def of_table(table: Any) -> jax.Array:
        def write(out: Any, part: _Part) -> Any:
            return lax.dynamic_update_slice(
                out, _dot_rows(part(x), table, part(codes)), (part.start,)
            )

        return _over_chunks(write, jnp.zeros(len(x), x.dtype), size, len(x))

    return _each(of_table, table)


def _sum_in_chunks(x: Any, weights: Any, codes: Any, *, n_groups: int) -> jax.Array:
    size = _chunk(x, len(weights))

    def of_weights(weights: Any) -> jax.Array:
        def add(sums: Any, part: _Part) -> Any:
            return _add_rows(sums, part(x), part(weights), part(codes))

        return _over_chunks(add, jnp.zeros((n_groups, x.shape[1]), x.dtype), size, len(x))

    return _each(of_weights, weights)


class _Part(NamedTuple):
    """Some rows, one after the other."""

    start: Any
    size: int

    def __call__(self, values: Any) -> jax.Array:
        return lax.dynamic_slice_in_dim(values, self.start, self.size)


def _chunk(x: Any, n_tables: int) -> int:
    return max(1, min(len(x), _CHUNK // max(1, n_tables * x.shape[1])))


def _over_chunks(add: Callable[[Any, _Part], Any], value: Any, size: int, n_rows: int) -> Any:
    """Call `add(value, rows)` on chunk after chunk of the rows, the last one shorter."""
    n_whole, left = divmod(n_rows, size)
    if n_whole:
        value = lax.fori_loop(0, n_whole, lambda i, v: add(v, _Part(i * size, size)), value)
    return add(value, _Part(n_whole * size, left)) if left else value


def _dot_whole(x: Any, table: Any, codes: Any) -> jax.Array:
    if table.shape[1] > _FEW:
        return jax.vmap(lambda one: _dot_rows(x, one, codes))(table)
    of_groups = jnp.einsum("nk,bgk->bng", x, table, precision="highest")
    return jnp.where(_indicators(codes, table.shape[1]), of_groups, 0).sum(axis=-1)


def _sum_whole(x: Any, weights: Any, codes: Any, *, n_groups: int) -> jax.Array:
    if n_groups > _FEW:
        zeros = jnp.zeros((n_groups, x.shape[1]), x.dtype)
        return jax.vmap(lambda one: _add_rows(zeros, x, one, codes))(weights)
    own = jnp.where(_indicators(codes, n_groups), weights[..., None], 0)
    return jnp.einsum("bng,nk->bgk", own, x, precision="highest")


def _indicators(codes: Any, n_groups: int) -> jax.Array:
    return codes[:, None] == jnp.arange(n_groups, dtype=codes.dtype)


def _dot_anywhere(x: Any, table: Any, codes: Any) -> jax.Array:
    return lax.platform_dependent(x, table, codes, cpu=_dot_in_chunks, default=_dot_whole)


def _sum_anywhere(x: Any, weights: Any, codes: Any, *, n_groups: int) -> jax.Array:
    chunks, whole = (partial(one, n_groups=n_groups) for one in (_sum_in_chunks, _sum_whole))
    return lax.platform_dependent(x, weights, codes, cpu=chunks, default=whole)


def _jvp(primitive: Primitive, primals: Any, tangents: Any, **static: Any) -> Any:
    """Both are linear in each of their first two arguments."""
    one, other, codes = primals
    out = primitive.bind(one, other, codes, **static)
    change = jnp.zeros_like(out)
    if not isinstance(tangents[0], ad.Zero):
        change += primitive.bind(tangents[0], other, codes, **static)
    if not isinstance(tangents[1], ad.Zero):
        change += primitive.bind(one, tangents[1], codes, **static)
    return out, change


def _dot_transpose(cotangent: Any, x: Any, table: Any, codes: Any) -> Any:
    if ad.is_undefined_primal(x):
        return _outer(cotangent, table, codes), None, None
    return None, _sum.bind(x, cotangent, codes, n_groups=table.aval.shape[1]), None


def _sum_transpose(cotangent: Any, x: Any, weights: Any, codes: Any, *, n_groups: int) -> Any:
    if ad.is_undefined_primal(x):
        return _outer(weights, cotangent, codes), None, None
    return None, _dot.bind(x, cotangent, codes), None


def _outer(weights: Any, tables: Any, codes: Any) -> jax.Array:
    """Weights `(b, n)` of rows of tables `(b, groups, k)`, added up over tables: `(n, k)`."""
    return jax.vmap(lambda w, one: w[:, None] * _rows(one, codes))(weights, tables).sum(axis=0)


def _batched(
    primitive: Primitive, whole: Any, values: Sequence[Any], dims: Sequence[Any], **static: Any
) -> Any:
    here = [
        value if dim is None else jnp.moveaxis(value, dim, 0)
        for value, dim in zip(values, dims, strict=True)
    ]
    if dims[0] is None and dims[2] is None:
        # Tables of the same rows: chains, or directions of differentiation.
        x, tables, codes = here
        n, b = tables.shape[:2]
        out = primitive.bind(x, tables.reshape(n * b, *tables.shape[2:]), codes, **static)
        return out.reshape(n, b, *out.shape[1:]), 0

    mapped = [value for value, dim in zip(here, dims, strict=True) if dim is not None]

    def own(parts: Sequence[Any]) -> list[Any]:
        rest = iter(parts)
        return [v if dim is None else next(rest) for v, dim in zip(here, dims, strict=True)]

    def one(parts: Sequence[Any]) -> jax.Array:
        return primitive.bind(*own(parts), **static)

    def in_turn(*mapped: Any) -> jax.Array:
        return lax.map(one, mapped)

    def together(*mapped: Any) -> jax.Array:
        return jax.vmap(lambda *parts: whole(*own(parts), **static))(*mapped)

    if len(mapped[0]) == 1:  # a fit that runs alone
        return one([value[0] for value in mapped])[None], 0
    return lax.platform_dependent(*mapped, cpu=in_turn, default=together), 0


def _define(
    primitive: Primitive, anywhere: Any, whole: Any, transpose: Any, shape: Any, *static: str
) -> None:
    def abstract(x: Any, tables: Any, codes: Any, **static: Any) -> Any:
        return ShapedArray(shape(x, tables, **static), x.dtype)

    primitive.def_impl(jax.jit(anywhere, static_argnames=static))
    primitive.def_abstract_eval(abstract)
    ad.primitive_jvps[primitive] = partial(_jvp, primitive)
    ad.primitive_transposes[primitive] = transpose
    batching.primitive_batchers[primitive] = partial(_batched, primitive, whole)
    mlir.register_lowering(primitive, mlir.lower_fun(anywhere, multiple_results=False))


def _shape_of_dot(x: Any, table: Any) -> tuple[int, ...]:
    return (table.shape[0], x.shape[0])


def _shape_of_sum(x: Any, weights: Any, n_groups: int) -> tuple[int, ...]:
    return (weights.shape[0], n_groups, x.shape[1])


_define(_dot, _dot_anywhere, _dot_whole, _dot_transpose, _shape_of_dot)
_define(_sum, _sum_anywhere, _sum_whole, _sum_transpose, _shape_of_sum, "n_groups")
