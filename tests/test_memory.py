"""The forecast of memory: what it counts, that it is near what is taken, and what it refuses."""

import dataclasses
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scalecheck import fit, memory
from scalecheck.errors import StudyError
from scalecheck.sampler import Settings, Streams

D = 1000


def potential(x):
    return lambda z: 0.5 * jnp.sum((z["a"] - x @ z["b"][:, None]) ** 2) + jnp.sum(z["b"] ** 2)


def of(n_fits=1, n_chains=2, streams=None, at_once=32, most_draws=100, n_rows=D, depth=8):
    return memory.forecast(
        potential,
        {"x": np.zeros((n_fits, n_rows, 3), "float32")},
        {
            "a": jnp.zeros((n_fits, n_chains, n_rows, 1)),
            "b": jnp.zeros((n_fits, n_chains, 3)),
        },
        Settings(100, 0.8, depth, ()),
        streams,
        at_once=at_once,
        room=None,
        most_draws=most_draws,
    )


REDUCED = Streams(("b",), lambda z, data: {"a": z["a"]})


def test_draws_count_what_is_held():
    whole, part = of(), of(streams=REDUCED)
    assert whole.draws == 3 * 2 * 100 * 4 * (D + 3)
    assert part.draws == 3 * 2 * 100 * 4 * 3
    assert part.chains > whole.chains  # moments take their place
    assert of(most_draws=200).draws == 2 * whole.draws


def test_chains_count_those_that_run_at_once():
    assert of(n_fits=8, at_once=4).chains == of(n_fits=4).chains == 4 * of().chains
    assert of(n_fits=8).draws == 8 * of().draws
    assert of(depth=9).chains - of(depth=8).chains >= 3 * 2 * 2 * 4 * D


def test_gradients_count_what_is_needed_at_the_same_time():
    one = of(n_chains=1).gradients
    assert 2 * 4 * D <= one <= 10 * 4 * D
    assert of(n_chains=4).gradients == 4 * one


def test_a_loop_within_a_model_counts_once():
    def repeated(x):
        return lambda z: jax.lax.fori_loop(0, 50, lambda i, t: t + jnp.sum(z["a"] ** 2), 0.0)

    found = memory.forecast(
        repeated,
        {"x": np.zeros((1, D), "float32")},
        {"a": jnp.zeros((1, 1, D))},
        Settings(10, 0.8, 3, ()),
        None,
        at_once=1,
        room=None,
        most_draws=1,
    )
    assert 0 < found.gradients <= 60 * 4 * D  # reverse mode keeps what each round needs


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((1, 2, 3, 40), "name fewer sites in sampler.keep, or lower sampler.draws"),
        ((1, 20, 3, 4), "lower sampler.chains"),
        ((50, 20, 3, 4), "use fewer rows (increments.end, subsets.size)"),
        ((5, 2, 30, 4), "lower sampler.chains, or use fewer rows"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_that_says_what_to_change(sizes, said):
    found = memory.Forecast(*(int(size * memory.GB) for size in sizes))
    with pytest.raises(StudyError, match=r"^increment-03: needs about ") as refused:
        memory.check(found, found.total - 1.0, "increment-03")
    line = str(refused.value)
    assert said in line
    assert f"data {sizes[0]}.0, chains {sizes[1]}.0" in line
    assert "\n" not in line
    memory.check(found, float(found.total), "increment-03")


def test_a_fit_is_refused_before_anything_is_compiled(rich, monkeypatch):
    monkeypatch.setenv(memory.VARIABLE, "0.0001")
    lines = []
    settings = dataclasses.replace(rich.small.study.sampler, engine="lanes")
    with pytest.raises(StudyError, match=r"5 fits: needs about 1 MB: .* \(of 0.0 GB available\): "):
        fit.fit_batch(rich.fitted.batch, settings, 1, lines.append)
    assert lines == []


@pytest.mark.parametrize("given", ["much", "0", "-2", "nan"])
def test_memory_that_is_given_must_be_a_positive_number(monkeypatch, given):
    monkeypatch.setenv(memory.VARIABLE, given)
    with pytest.raises(StudyError, match=f"must be a positive number of GB, not '{given}'"):
        memory.available()


def test_what_is_available_is_less_than_what_the_job_may_take(monkeypatch, tmp_path):
    monkeypatch.delenv(memory.VARIABLE, raising=False)
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.available() == 2e6
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() > 1e7


# A fresh process, for the largest resident size of a process never falls; read from where it begins
# anew with the program, which that of `getrusage` does not. Without warmup trajectories are short.
MEASURED = """
    import re, sys
    import jax, jax.numpy as jnp, numpy as np
    from scalecheck import memory, sampler

    def potential(x):
        return lambda z: 0.5 * jnp.sum((x - z["a"]) ** 2 * jnp.exp(-z["b"])) + 0.5 * z["b"] ** 2

    d, engine, at_once, n_chains = 400_000, sys.argv[1], 1, 2
    arrays = {"x": np.ones((1, d), "float32")}
    starts = {"a": jnp.zeros((1, n_chains, d)), "b": jnp.zeros((1, n_chains))}
    settings = sampler.Settings(0, 0.8, 8, ())
    streams = sampler.Streams(("b",), lambda z, arrays: {"a": z["a"]})
    room = None if engine == "sample_lanes" else 4
    found = memory.forecast(potential, arrays, starts, settings, streams, at_once=1, room=room, most_draws=6)
    peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
    options = {"block": 4} if room else {}
    jnp.ones(3).sum().block_until_ready()
    before = peak()
    getattr(sampler, engine)(
        potential, arrays, starts, settings, key=jax.random.split(jax.random.PRNGKey(1), 1), draws=6,
        streams=streams, **options,
    )
    print(found.total, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says the peak")
@pytest.mark.parametrize("engine", ["sample_lanes", "sample"])
def test_the_forecast_is_near_what_is_taken(engine):
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURED), engine],
        capture_output=True,
        text=True,
        check=True,
        env={"JAX_PLATFORMS": "cpu", "PATH": "", "PYTHONPATH": ":".join(sys.path)},
    )
    forecast, taken = map(float, ran.stdout.split())
    assert 0.6 < forecast / taken < 1.6, (forecast, taken)
