"""Two fits of four chains on two modes, of which one is so correlated that a chain in it stalls."""

import jax
import jax.numpy as jnp
import numpy as np

from scalecheck.sampler import SavedRun, Settings, sample_lanes, sample_numpyro

FAR = 60.0
# A standard normal at 0, and far away one so correlated that no diagonal metric helps.
TIGHT = np.linalg.inv(np.array([[1.0, 0.9995], [0.9995, 1.0]])).astype("float32")
ENGINES = {"lanes": sample_lanes, "numpyro": sample_numpyro}


def two_modes(tight):
    def potential(z):
        x = z["x"]
        away = x - FAR
        return -jnp.logaddexp(-0.5 * x @ x, -0.5 * away @ tight @ away)

    return potential


def run(engine="lanes", **options):
    """Sample; chain 2 of the second fit starts in the far mode."""
    starts = np.random.default_rng(1).normal(size=(2, 4, 2)).astype("float32")
    starts[1, 2] = FAR
    return ENGINES[engine](
        two_modes,
        {"tight": np.stack([TIGHT, TIGHT])},
        {"x": jnp.asarray(starts)},
        Settings(300, 0.8, 10, ()),
        key=jax.random.split(jax.random.PRNGKey(4), 2),
        draws=100,
        **options,
    )


def back_near(fit, chain, times):
    """Give a start in the near mode."""
    return {"x": np.full(2, 0.1 * times, "float32")}


def run_killed(is_due, **options):
    """Sample, and stop and go on from what was saved whenever `is_due(state, number of snapshots)`."""
    saved, state = [], []

    class Killed(Exception):
        pass

    def keep(take):
        snapshot = take()
        saved.append(snapshot.news)
        state.append(snapshot.state)
        if is_due(snapshot.state, len(state)):
            raise Killed

    while True:
        try:
            before = SavedRun(state[-1], list(saved)) if state else None
            return run(keep=keep, saved=before, **options)
        except Killed:
            pass


def same(one, other):
    """Assert that two runs have the same bits."""
    for found, expected in zip(one.z, other.z, strict=True):
        np.testing.assert_array_equal(found["x"], expected["x"])
    for found, expected in zip(one.iterations, other.iterations, strict=True):
        np.testing.assert_array_equal(found.n_steps, expected.n_steps)
        np.testing.assert_array_equal(found.step_size, expected.step_size)
    for found, expected in zip(one.windows, other.windows, strict=True):
        np.testing.assert_array_equal(found.inverse_mass_matrix, expected.inverse_mass_matrix)
    assert list(one.discarded) == list(other.discarded)
    assert list(one.stopped) == list(other.stopped)
