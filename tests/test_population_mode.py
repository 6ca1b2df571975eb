"""The mode of what units share, of many blocks: found, as wide as it is, and from few evaluations of all blocks."""

from types import SimpleNamespace

import numpy as np
import pytest

from scalecheck.laplace.marginal_density import Evaluated, MarginalDensity, PriorScale
from scalecheck.laplace.population import find_population_mode

D, UNITS = 5, 20


class Normals(MarginalDensity):
    """Blocks of which each adds a normal log density: what is evaluated counts its blocks."""

    def __init__(self, n_blocks):
        rng = np.random.default_rng(n_blocks)
        roots = rng.standard_normal((n_blocks, D, 3 * D))
        self.precisions = roots @ roots.swapaxes(1, 2)
        self.centres = np.linspace(-1, 2, D) + 0.3 * rng.standard_normal((n_blocks, D))
        self.blocks = [None] * n_blocks
        self.runs = [(UNITS * i, UNITS * (i + 1)) for i in range(n_blocks)]
        self.n_units = UNITS * n_blocks
        self.prior = PriorScale(np.zeros(D), np.ones(D), np.zeros(1))
        self.model = SimpleNamespace(by_logarithm=np.zeros(D, bool))
        self.calls = []

    def evaluate(self, theta, chosen=None, *, moves=True, corrected=False):
        chosen = list(range(len(self.blocks)) if chosen is None else chosen)
        self.calls.append(len(chosen))
        off = theta - self.centres[chosen]
        pull = np.einsum("bij,bj->bi", self.precisions[chosen], off)
        value = -(off * pull).sum() / 2 - (theta**2).sum() / 2
        return Evaluated(float(value), -pull.sum(axis=0) - theta)

    def settle(self, theta, chosen=None):
        pass

    def mode(self):
        precision = self.precisions.sum(axis=0) + np.eye(D)
        pulled = np.einsum("bij,bj->i", self.precisions, self.centres)
        return np.linalg.solve(precision, pulled), np.linalg.inv(precision)


def found(target):
    return find_population_mode(target, target.evaluate, target.settle, lambda line: None)


def test_the_mode_of_one_block_is_that_of_all():
    target = Normals(1)
    mode, covariance = target.mode()
    one = found(target)
    np.testing.assert_allclose(one.root @ one.root.T, covariance, rtol=1e-6, atol=1e-9)
    assert np.linalg.norm(np.linalg.solve(one.root, one.theta - mode)) < 0.1


def test_of_many_blocks_some_tell_how_wide_it_is():
    target = Normals(400)
    mode, covariance = target.mode()
    one = found(target)
    # L-BFGS ends where the slope is below a tenth in each direction, in sds.
    assert one.off < 0.1 * np.sqrt(D)
    assert np.linalg.norm(np.linalg.solve(one.root, one.theta - mode)) < 0.13 * np.sqrt(D)
    # 32 of 400 blocks, of 15 rows each: their precision is that of all to a few per cent.
    inner = np.linalg.solve(one.root, np.linalg.solve(one.root, covariance).T)
    assert np.abs(np.log(np.linalg.eigvalsh(inner))).max() < 0.25
    # Differences of gradients of all blocks would be ten more.
    assert target.calls.count(400) < 16
    assert target.calls.count(32) >= 2 * D


class CutNormal(Normals):
    """The last element is the logarithm of a value whose density is a normal, cut at zero."""

    CENTRE, SD = 0.2, 0.12

    def __init__(self):
        super().__init__(1)
        self.model.by_logarithm[-1] = True

    def evaluate(self, theta, chosen=None, *, moves=True, corrected=False):
        value = np.exp(theta[-1])
        z = (value - self.CENTRE) / self.SD
        off = theta[:-1] / 0.3
        gradient = [*(-off / 0.3), 1 - z * value / self.SD]
        return Evaluated(float(theta[-1] - z**2 / 2 - (off**2).sum() / 2), np.array(gradient))


def test_the_mode_of_a_positive_value_is_as_wide_as_on_its_own_scale():
    one = found(CutNormal())
    assert np.exp(one.theta[-1]) == pytest.approx(0.2, abs=0.02)
    assert one.root[-1] @ one.root[-1] == pytest.approx(0.12**2, rel=0.25)
    np.testing.assert_allclose(np.sqrt((one.root[:-1] ** 2).sum(axis=1)), 0.3, rtol=1e-3)
    assert one.off < 0.1


class LogNormal(CutNormal):
    """The logarithm of the last value is normal, which the coordinates should leave alone."""

    def evaluate(self, theta, chosen=None, *, moves=True, corrected=False):
        off = theta / 0.7
        return Evaluated(float(-(off**2).sum() / 2), -off / 0.7)


def test_a_logarithm_without_a_long_tail_is_its_own_coordinate():
    one = found(LogNormal())
    assert np.isinf(one.scale).all()
    np.testing.assert_allclose(one.root @ one.root.T, 0.49 * np.eye(D), rtol=1e-3, atol=1e-6)
    assert np.isfinite(found(CutNormal()).scale).tolist() == [False] * (D - 1) + [True]


class ManyCutNormals(CutNormal):
    """Forty blocks, each of whose rows tell the value a little."""

    N = 40

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(4)
        self.blocks = [None] * self.N
        self.runs = [(UNITS * i, UNITS * (i + 1)) for i in range(self.N)]
        self.n_units = UNITS * self.N
        self.own = 0.2 + 0.12 * np.sqrt(self.N) * rng.standard_normal(self.N)

    def evaluate(self, theta, chosen=None, *, moves=True, corrected=False):
        own = self.own if chosen is None else self.own[list(chosen)]
        value, sd = np.exp(theta[-1]), self.SD * np.sqrt(self.N)
        z = (value - own) / sd
        off = theta[:-1] / 0.3
        gradient = [*(-off / 0.3), 1 - (z * value / sd).sum()]
        return Evaluated(
            float(theta[-1] - (z**2).sum() / 2 - (off**2).sum() / 2), np.array(gradient)
        )


def test_of_many_blocks_some_tell_which_logarithms_have_a_long_tail():
    target = ManyCutNormals()
    one = found(target)
    assert np.isfinite(one.scale).tolist() == [False] * (D - 1) + [True]
    # The volume of the coordinate weighs a little: sigmoid(x / scale) is .98 at the mode.
    assert np.exp(one.theta[-1]) == pytest.approx(target.own.mean(), abs=0.03)
