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

from scalecheck.errors import StudyError
from scalecheck.fitting import memory, sample_batch
from scalecheck.fitting.starts import find_starts
from scalecheck.runtime.free_memory import GB, VARIABLE, Free
from scalecheck.sampler import Settings, Streams

D = 1000


def potential(x):
    return lambda z: 0.5 * jnp.sum((z["a"] - x @ z["b"][:, None]) ** 2) + jnp.sum(z["b"] ** 2)


def forecast(
    n_fits=1,
    n_chains=2,
    streams=None,
    at_once=32,
    in_block=None,
    room=None,
    draws=100,
    n_rows=D,
    depth=8,
):
    return memory.batch_memory(
        potential,
        {"x": np.zeros((n_fits, n_rows, 3), "float32")},
        {
            "a": jnp.zeros((n_fits, n_chains, n_rows, 1)),
            "b": jnp.zeros((n_fits, n_chains, 3)),
        },
        Settings(100, 0.8, depth, ()),
        streams,
        at_once=at_once,
        in_block=in_block or at_once,
        room=room,
        draws=draws,
    )


def of(**options):
    return forecast(**options).together


REDUCED = Streams(("b",), lambda z, data: {"a": z["a"]})


def test_draws_count_those_that_are_asked_for():
    whole, part = of(), of(streams=REDUCED)
    one_copy = 2 * 100 * 4 * (D + 3)
    assert whole.draws == 3 * one_copy
    assert part.draws == 3 * 2 * 100 * 4 * 3
    assert part.chains > whole.chains  # moments take their place
    assert of(draws=200).draws == 2 * whole.draws
    # Of all fits while they are joined, and then of one after the other.
    assert of(n_fits=8).draws == 17 * one_copy


def test_chains_count_those_that_run_at_once():
    assert of(n_fits=4).chains == 4 * of().chains
    assert of(n_fits=8, at_once=4).chains == of(n_fits=4).chains
    assert of(depth=9).chains - of(depth=8).chains >= 3 * 2 * 2 * 4 * D


def test_fits_one_after_the_other_share_all_but_what_a_block_notes():
    one, together = of(room=50), of(n_fits=8, room=50)
    each = of(n_fits=8, at_once=1, in_block=8, room=50)
    notes = 3 * 2 * 50 * 4 * (D + 3)
    assert each.gradients == one.gradients == together.gradients / 8
    assert each.chains == one.chains + 7 * notes
    assert together.chains == 8 * one.chains


def test_two_hundred_studies_of_a_small_model_are_not_refused_for_a_gigabyte():
    found = memory.batch_memory(
        lambda x: lambda z: jnp.sum((x - z["a"]) ** 2),
        {"x": np.zeros((199, 500, 40), "float32")},
        {"a": np.zeros((199, 4, 40), "float32")},
        Settings(1000, 0.8, 10, ()),
        None,
        at_once=32,
        in_block=32,
        room=None,
        draws=1000,
    )
    held = 199 * 4 * 1000 * 40 * 4
    assert 2 * held < found.together.total < 5 * held < 1e9


def test_gradients_count_what_is_needed_at_the_same_time():
    one = of(n_chains=1).gradients
    assert 2 * 4 * D <= one <= 10 * 4 * D
    assert of(n_chains=4).gradients == 4 * one


def test_a_loop_within_a_model_counts_once():
    def repeated(x):
        return lambda z: jax.lax.fori_loop(0, 50, lambda i, t: t + jnp.sum(z["a"] ** 2), 0.0)

    found = memory.batch_memory(
        repeated,
        {"x": np.zeros((1, D), "float32")},
        {"a": jnp.zeros((1, 1, D))},
        Settings(10, 0.8, 3, ()),
        None,
        at_once=1,
        in_block=1,
        room=None,
        draws=1,
    )
    assert 0 < found.device.gradients <= 60 * 4 * D  # reverse mode keeps what each round needs


def forecast_of(data=0, chains=0, gradients=0, draws=0):
    """Sizes in GB, data of host and device together."""
    half, chains, gradients, draws = (
        int(size * GB) for size in (data / 2, chains, gradients, draws)
    )
    return memory.BatchMemory(
        memory.Sizes(data=half, draws=draws),
        memory.Sizes(data=half, chains=chains, gradients=gradients),
    )


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
    found = forecast_of(*sizes)
    total = float(found.together.total)
    with pytest.raises(StudyError, match=r"^increment-03: needs about ") as refused:
        memory.check_memory(found, Free(total - 1.0), "increment-03")
    line = str(refused.value)
    assert said in line
    assert f"data {sizes[0]}.0, chains {sizes[1]}.0" in line
    assert "\n" not in line
    memory.check_memory(found, Free(total), "increment-03")


@pytest.mark.parametrize(
    ("sizes", "free", "line"),
    [
        (
            {"data": 0.2, "chains": 1.3, "gradients": 0.3},
            Free(15.2e9),
            "takes about 1.8 GB: data 0.2, chains 1.3, gradients 0.3 (of 15.2 GB available)",
        ),
        (
            {"chains": 0.0021, "draws": 0.03},
            Free(15.2e9),
            "takes about 32 MB: chains 2, draws 30 (of 15.2 GB available)",
        ),
        (
            {"data": 0.0002, "draws": 0.0003},
            Free(15.2e9),
            "takes less than 1 MB (of 15.2 GB available)",
        ),
        (
            {"data": 2, "chains": 30, "gradients": 3, "draws": 4},
            Free(15.2e9, 80e9),
            "takes about 34.0 GB: data 1.0, chains 30.0, gradients 3.0 (of 80.0 GB available on the GPU);"
            " about 5.0 GB: data 1.0, draws 4.0 (of 15.2 GB available on the host)",
        ),
    ],
)
def test_what_fits_is_said_in_one_line(sizes, free, line):
    assert (
        memory.check_memory(forecast_of(**sizes), free, "increment-03") == f"increment-03: {line}"
    )


@pytest.mark.parametrize(
    ("free", "said"),
    [
        (Free(100e9, 33e9), r"needs about 34.0 GB: .* on the GPU\): lower sampler.chains"),
        (Free(4e9, 80e9), r"needs about 5.0 GB: .* on the host\): name fewer sites"),
    ],
)
def test_host_and_gpu_are_held_each_against_its_own(free, said):
    found = forecast_of(data=2, chains=30, gradients=3, draws=4)
    with pytest.raises(StudyError, match=f"^increment-03: {said}"):
        memory.check_memory(found, free, "increment-03")


def test_the_host_holds_a_copy_of_what_a_block_notes_on_a_gpu():
    found = forecast(room=50)
    assert found.host.chains == 2 * 50 * 4 * (D + 3)
    assert found.together.chains == found.device.chains


@pytest.mark.parametrize("engine", ["lanes", "numpyro"])
def test_a_fit_is_refused_before_starts_are_found_and_anything_is_compiled(
    rich, monkeypatch, engine
):
    monkeypatch.setenv(VARIABLE, "0.0001")
    monkeypatch.setattr(sample_batch, "find_starts", lambda *arguments: pytest.fail("not yet"))
    lines = []
    settings = dataclasses.replace(rich.small.study.sampler, engine=engine)
    with pytest.raises(StudyError, match=r"^4 fits: needs .* MB.* \(of 0.1 MB available\): "):
        sample_batch.fit_batch(rich.fitted.batch, settings, 1, lines.append)
    assert lines == []


def test_starts_have_the_shapes_that_were_forecast(rich):
    batch, settings = rich.fitted.batch, rich.small.study.sampler
    keys = jax.random.split(jax.random.PRNGKey(1), len(batch.tasks))
    found = find_starts.find_starts(batch, settings, keys)
    expected = find_starts.shapes_of_starts(batch, settings.chains)
    told = {name: (values.shape, values.dtype) for name, values in found.items()}
    assert told == {name: (values.shape, values.dtype) for name, values in expected.items()}


# A fresh process, for the largest resident size of a process never falls; read from where it begins
# anew with the program, which that of `getrusage` does not. Without warmup trajectories are short.
MEASURED = """
    import re, sys
    import jax, jax.numpy as jnp, numpy as np
    from scalecheck import sampler
    from scalecheck.fitting import memory

    def potential(x):
        return lambda z: 0.5 * jnp.sum((x - z["a"]) ** 2 * jnp.exp(-z["b"])) + 0.5 * z["b"] ** 2

    d, engine, at_once, n_chains = 400_000, sys.argv[1], 1, 2
    arrays = {"x": np.ones((1, d), "float32")}
    starts = {"a": jnp.zeros((1, n_chains, d)), "b": jnp.zeros((1, n_chains))}
    settings = sampler.Settings(0, 0.8, 8, ())
    streams = sampler.Streams(("b",), lambda z, arrays: {"a": z["a"]})
    room = None if engine == "sample_lanes" else 4
    found = memory.batch_memory(potential, arrays, starts, settings, streams, at_once=1, in_block=1, room=room, draws=6)
    peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
    options = {"block": 4} if room else {}
    jnp.ones(3).sum().block_until_ready()
    before = peak()
    getattr(sampler, engine)(
        potential, arrays, starts, settings, key=jax.random.split(jax.random.PRNGKey(1), 1), draws=6,
        streams=streams, **options,
    )
    print(found.together.total, peak() - before)
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says the peak")
@pytest.mark.parametrize("engine", ["sample_lanes", "sample_numpyro"])
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
