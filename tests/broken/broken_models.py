"""Models that are refused before any fit."""

from broken_study import MODEL, Broken

from scalecheck.runtime import time_limit


def instead(old, new):
    assert old in MODEL
    return MODEL.replace(old, new)


def first(*lines):
    """InitialAdaptation the model with further lines."""
    return instead("    beta =", "".join(f"    {line}\n" for line in lines) + "    beta =")


def model(line, source, /, **settings):
    return Broken("check_study", line, settings, model=source)


def endless(line, source):
    """A model that has little time."""
    return model(line, source)._replace(environment={time_limit.VARIABLE: "1"})


def traced(line, instead, source):
    """A model that needs the values of an array while it is traced."""
    words = "needs the values of an array while JAX traces the model:"
    return model(f"model.py, {line} {words} {instead}", source)


PRIOR = 'numpyro.sample("beta", dist.Normal(0.0, 1.0))'

# A lag within the model, and a model that predicts without it.
LAGGED = first("before = jnp.concatenate([jnp.zeros(1), x[:-1]])").replace(
    "beta * x", "beta * before"
)
LAGGED = "import jax.numpy as jnp\n" + LAGGED
DEPENDS = "model.py: the log likelihood of a row at the site y depends on "
TAKE = (
    ", so that parameters mean another thing in every fit: take such numbers from the whole file: as a column, or as a"
    " constant in the model"
)

MODELS = {
    # rows together
    "centred inside": model(
        f"{DEPENDS}x in the other rows (as through x.mean()){TAKE}",
        instead("beta * x", "beta * (x - x.mean())"),
    ),
    "outcome centred inside": model(
        f"{DEPENDS}y in the other rows (as through y.mean()){TAKE}",
        instead("Bernoulli(logits=beta * x), obs=y", "Normal(beta * x, 1), obs=y - y.mean()"),
    ),
    "centred by group": model(
        f"{DEPENDS}x and site in the other rows (as through x.mean()){TAKE}; or name site in"
        " data.unit, where each fit is to have whole levels of it",
        "import jax\n"
        + instead("model(x,", "model(x, site, n_site,").replace(
            "beta * x",
            "beta * (x - (jax.ops.segment_sum(x, site, n_site) / jax.ops.segment_sum(1 + 0 * x, site, n_site))[site])",
        ),
    ),
    "number of rows": model(
        f"{DEPENDS}the number of rows{TAKE}", instead("beta * x", "beta * x / x.shape[0]")
    ),
    "axis of a lag": Broken(
        "plan",
        "data.axes must be empty, because the model has each row continue the rows before it, and a level would pick"
        " rows out of their order, got site",
        {"data": {"axes": ["site"]}},
        model=LAGGED,
    ),
    "random increments of a lag": Broken(
        "plan",
        "increments.order must be arrival, because the model has each row continue the rows before it, got random",
        {"increments": {"order": "random"}},
        model=LAGGED,
    ),
    # the file
    "syntax error": Broken(
        "prepare",
        "model.py, line 9: not valid Python: '(' was never closed",
        model=MODEL + "    numpyro.sample('z'\n",
    ),
    "latin-1": Broken(
        "prepare",
        "model.py, line 9: not valid Python: (unicode error) 'utf-8' codec can't decode byte"
        " 0xf6 in position 1: invalid start byte",
        model=(MODEL + 'CITY = "Köln"\n').encode("latin-1"),
    ),
    "no Python": Broken(
        "prepare",
        "model.py: not valid Python: source code string cannot contain null bytes",
        model=b"\0\1\2",
    ),
    "no such function": Broken(
        "prepare",
        "model.py: model.function must be a function of this file, got model, did you mean modell?",
        model=instead("def model", "def modell"),
    ),
    "import that fails": model(
        "model.py, line 1: cannot be imported: ModuleNotFoundError: No module named 'numpyroo'",
        instead("import numpyro\n", "import numpyroo\n"),
    ),
    "import that exits": model(
        "model.py, line 3: cannot be imported: SystemExit: 3", "import sys\n\nsys.exit(3)\n" + MODEL
    ),
    "import that never ends": endless(
        "model.py, line 4: has not ended after 1 s (the environment variable"
        " SCALECHECK_MODEL_SECONDS changes how long it may take)",
        "import time\n\nwhile True:\n    time.sleep(0.1)\n" + MODEL,
    ),
    # its arguments
    "misspelt count": model(
        "model.py: the function model: argument n_sites has no column, did you mean n_site?",
        instead("model(x, y", "model(x, site, n_sites, y"),
    ),
    "counts of a number": model(
        "model.py: the function model: argument n_patient counts the levels of patient,"
        " which holds numbers (data.categories makes them labels)",
        instead("model(x, y", "model(x, patient, n_patient, y"),
    ),
    "text in a matrix": model(
        "model.py: the function model: argument x takes several columns, which must all hold"
        " numbers",
        MODEL,
        model={"arguments": {"x": ["x", "site"]}},
    ),
    "arguments without names": model(
        "model.py: the model raises TypeError: model() got some positional-only arguments"
        " passed as keyword arguments: 'x'",
        instead("model(x, y", "model(x, /, y"),
    ),
    # what runs
    "it raises": model(
        "model.py, line 8: the model raises TypeError: dot_general requires contracting"
        " dimensions to have the same shape, got (1013,) and (3,).",
        instead("beta * x", "beta * x @ x[:3]"),
    ),
    "it asks for numbers": traced(
        "line 6: float(x.max())",
        "write x.astype(float) in place of float(x)",
        instead("Normal(0.0, 1.0)", "Normal(0.0, float(x.max()))"),
    ),
    "it asks for a number of each row": traced(
        "line 6: float(x)", "write x.astype(float) in place of float(x)", first("x = float(x)")
    ),
    "a function of NumPy": traced(
        "line 7: np.log(abs(x))",
        "write jax.numpy (jnp.log) in place of np",
        "import numpy as np\n" + first("é = 1.0; x = x + é * np.log(abs(x)) / 2"),
    ),
    "a function of NumPy on two lines": traced(
        "line 7: numpy.tanh(...)",
        "write jax.numpy (jnp.tanh) in place of numpy",
        "import numpy\n" + first("x = 1 + numpy.tanh(", "    x)"),
    ),
    "it depends on a value": traced(
        "line 6: x.max() > 3",
        "write jnp.where(condition, this, other) in place of if, and, or, min and max",
        first("if x.max() > 3:", "    x = x / 3"),
    ),
    "a dimension that depends on data": traced(
        "line 6: x[x > 0]",
        "the number of rows would depend on them: write jnp.where(condition, x, other), or"
        " leave rows out of the file",
        first("x = x[x > 0]"),
    ),
    "levels counted in the data": traced(
        "line 7: jnp.unique(x)",
        "the number of its results would depend on them: make a column of them in the file,"
        " or take the argument n_<column>, which counts the levels of a column of labels",
        "import jax.numpy as jnp\n" + first("n_levels = len(jnp.unique(x))"),
    ),
    "a list at an index of the data": traced(
        "line 6: [0.1, 0.2][x[0].astype(int)]",
        "index an array of jax.numpy with it, jnp.asarray(values)[index], and no list of Python",
        first("x = x + [0.1, 0.2][x[0].astype(int)]"),
    ),
    "it never ends": endless(
        "model.py, line 8: has not ended after 1 s (the environment variable"
        " SCALECHECK_MODEL_SECONDS changes how long it may take)",
        first("import time", "while True:", "    time.sleep(0.1)"),
    ),
    "it never ends and catches all": endless(
        "model.py, line 9: has not ended after 1 s (the environment variable"
        " SCALECHECK_MODEL_SECONDS changes how long it may take)",
        first(
            "import time",
            "while True:",
            "    try:",
            "        time.sleep(0.1)",
            "    except Exception:",
            "        pass",
        ),
    ),
    "it needs the outcome": model(
        "model.py, line 7: the model raises AttributeError: 'NoneType' object has no"
        " attribute 'shape' when y is None, as it is when it predicts: n_rows and the"
        " covariates tell the number of rows",
        instead("x.shape[0])", "y.shape[0])"),
    ),
    "it takes all memory": model(
        "out of memory (RESOURCE_EXHAUSTED: Out of memory allocating 2251799813685248"
        " bytes.): use fewer rows (increments.end, subsets.size), fewer chains"
        " (sampler.chains), or a machine with more",
        "import jax.numpy as jnp\n"
        + first("x = jnp.sort(jnp.broadcast_to(x, (1 << 42, x.shape[0])), axis=0)[0]"),
    ),
    "it turns on float64": model(
        "model.py: turns on float64 (enable_x64), but sampler.precision is float32: say"
        " float64 there",
        'import jax\n\njax.config.update("jax_enable_x64", True)\n' + MODEL,
    ),
    # randomness
    "numbers of NumPy's generator": model(
        "model.py: the model is another one each time that it is called: what is random must"
        " be drawn by numpyro.sample, not by numpy.random, random or the time",
        "import numpy as np\n" + first("x = x + np.random.normal()"),
    ),
    "an array of NumPy's generator": model(
        "model.py: the model is another one each time that it is called: what is random must"
        " be drawn by numpyro.sample, not by numpy.random, random or the time",
        "import numpy as np\n" + first("x = x + np.random.normal(size=1)"),
    ),
    "Python's own randomness": model(
        "model.py: the model is another one each time that it is called: what is random must"
        " be drawn by numpyro.sample, not by numpy.random, random or the time",
        "import random\n"
        + first("x = x[::-1] if random.random() < 2 ** -0.5 else x", "x = x * random.random()"),
    ),
    "a model that remembers": model(
        "model.py: the model is another one each time that it is called: what is random must"
        " be drawn by numpyro.sample, not by numpy.random, random or the time",
        "seen = []\n" + first("seen.append(1)", "x = x / len(seen)"),
    ),
    "rows drawn at random": model(
        "model.py: the plate rows takes 50 rows at random, which NUTS cannot: leave"
        " subsample_size out",
        instead("0]):", "0], subsample_size=50) as i:")
        .replace("beta * x)", "beta * x[i])")
        .replace("=y)", "=y[i])"),
    ),
    # sites
    "nothing observed": model(
        "model.py: no site is observed: give numpyro.sample(..., obs=y)", instead(", obs=y", "")
    ),
    "two observed sites": model(
        "model.py: exactly one site must be observed, got y, z",
        MODEL + '    numpyro.sample("z", dist.Normal(beta, 1.0), obs=x)\n',
    ),
    "a discrete latent": model(
        "model.py: the latent site beta is discrete, which NUTS cannot sample: sum it out",
        instead("dist.Normal(0.0, 1.0)", "dist.Poisson(1.0)"),
    ),
    "an improper prior": model(
        "model.py, line 6: this distribution cannot be drawn from, as an improper one: give"
        " a proper prior",
        instead("dist.Normal(0.0, 1.0)", "dist.ImproperUniform(dist.constraints.real, (), ())"),
    ),
    "an infinite scale": model(
        "model.py: draws from the prior are not finite: give every site a proper prior",
        instead("dist.Normal(0.0, 1.0)", "dist.Normal(0.0, float('inf'))"),
    ),
    "a flat prior": model(
        "model.py: draws from the prior are not finite: give every site a proper prior",
        instead("dist.Normal(0.0, 1.0)", "dist.Uniform(-float('inf'), float('inf'))"),
    ),
    "a param": model(
        "model.py: the site scale is a numpyro.param, which would stay at its first value:"
        " give it a prior by numpyro.sample",
        first('numpyro.param("scale", 1.0)'),
    ),
    "only latents of rows": model(
        "model.py: no latent site can be compared across fits: all are indexed by rows, by data.unit,"
        " or by levels of which a fit may lack some (model.compare can name those)",
        instead("dist.Normal(0.0, 1.0))", "dist.Normal(0.0, 1.0).expand(x.shape))"),
    ),
    "a site twice": model(
        "model.py, line 7: the model raises AssertionError: all sites must have unique names"
        " but got `beta` duplicated",
        first('numpyro.sample("beta", dist.Normal())'),
    ),
    "a site of a plate's name": model(
        "model.py: the name rows is that of a plate and of a site: rename one of them",
        first('numpyro.sample("rows", dist.Normal())'),
    ),
    "a site of a dim's name": model(
        "model.py: the site chain cannot be stored under this name: rename it"
        " (numpyro.handlers.scope takes a divider)",
        first('numpyro.sample("chain", dist.Normal())'),
    ),
    "a site like a path": model(
        "model.py: the site ../x cannot be stored under this name: rename it"
        " (numpyro.handlers.scope takes a divider)",
        first('numpyro.sample("../x", dist.Normal())'),
    ),
    # masks
    "obs_mask": model(
        "model.py: obs_mask makes the latent site y_unobserved, which has no density where y is"
        " observed: leave obs_mask out and mask the distribution, as in"
        " dist.Normal(mean, sd).mask(seen)",
        instead("Bernoulli(logits=beta * x), obs=y", "Normal(beta, 1.0), obs=y, obs_mask=x > 0"),
    ),
    "obs_mask of counts": model(
        "model.py: obs_mask makes the latent site y_unobserved, which has no density where y is"
        " observed: leave obs_mask out and mask the distribution, as in"
        " dist.Normal(mean, sd).mask(seen)",
        instead("obs=y", "obs=y, obs_mask=x > 0"),
    ),
    "a masked prior": model(
        "model.py: the latent site beta is masked, so that it has no density: mask the"
        " distribution of the observed site alone, as in dist.Normal(mean, sd).mask(seen)",
        instead("dist.Normal(0.0, 1.0)", "dist.Normal(0.0, 1.0).mask(x.max() > 99)"),
    ),
    "a mask of every row": model(
        "model.py: the mask of the site y leaves out every row of data.csv: a mask is True where"
        " the outcome was observed",
        instead("logits=beta * x)", "logits=beta * x).mask(x > 99)"),
    ),
    # the density
    "a density that cannot be computed": model(
        "model.py, line 7: the density of the model raises ValueError: why",
        MODEL.replace(
            "\n\ndef",
            "\n\nclass Bad(dist.Normal):\n    def log_prob(self, value):\n        raise ValueError('why')\n\n\ndef",
        ).replace("dist.Bernoulli(logits=beta * x)", "Bad(beta, 1.0)"),
    ),
    "NaN at the start": model(
        "data.csv: row 4 has x = -1.303, where the log likelihood of the observed site y is NaN,"
        " whatever the outcome and whatever is drawn from the prior (model.py): leave such rows"
        " out, or mend the model there (and 99 more rows)",
        "import jax.numpy as jnp\n"
        + instead("dist.Bernoulli(logits=beta * x)", "dist.Normal(beta * jnp.log(x), 1.0)"),
    ),
    "a negative scale": model(
        "model.py, line 8: the model raises ValueError: Normal distribution got invalid"
        " scale parameter.",
        instead("dist.Bernoulli(logits=beta * x)", "dist.Normal(beta, -1.0)"),
    ),
    "an outcome for every pair of rows": model(
        "model.py: the site y has a log likelihood of shape (200, 200) for outcomes of shape"
        " (200,): its distribution has a dimension too many",
        instead("beta * x)", "beta * x[:, None])"),
    ),
    # the scales
    "a parameter too narrow": model(
        "model.py: the posterior sd of beta would be about 8e-08, and warmup learns none below 0.003: use larger"
        " units, days for seconds, for what it multiplies",
        instead("Normal(0.0, 1.0)", "Normal(0.0, 1e-7)")
        .replace("beta * x", "alpha + 1e6 * beta * x")
        .replace(
            "    beta =", '    alpha = numpyro.sample("alpha", dist.Normal(0.0, 1.0))\n    beta ='
        ),
    ),
}
