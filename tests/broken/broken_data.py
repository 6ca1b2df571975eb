"""Columns and values of the wrong kind, in a table that can be read."""

import numpy as np
from broken_study import MODEL, Broken


def named(label):
    """Call a site otherwise in row 3."""
    return lambda frame: frame.assign(site=frame.site.mask(frame.index == 2, label))


def change(**columns):
    return lambda frame: frame.assign(**columns)


def at(column, row, value):
    """Change the value in a row, counted from 1."""

    def changed(frame):
        values = frame[column].astype(object)
        values.iloc[row - 1] = value
        return frame.assign(**{column: values})

    return changed


def kind(ending, **data):
    return {"data": {"file": f"data.{ending}", **data}}


def table(line, data=lambda frame: frame, /, **settings):
    """A table with something wrong in it."""
    return Broken("prepare", f"data.csv: {line}", {"data": settings}, data)


def file(line, write, ending="csv", /, **settings):
    """A file with something wrong."""
    return Broken("prepare", f"data.{ending}: {line}", kind(ending, **settings), file=write)


AXIS = {"axes": ["site"]}
COUNTS = {"expand": {"trials": "trials", "successes": "successes"}}
DROP = "(data.missing: drop leaves such rows out)"


def without_outcome(frame):
    return frame.drop(columns="y")


def counted(line, data=lambda frame: frame, /, **settings):
    return table(line, lambda frame: data(without_outcome(frame)), **COUNTS, **settings)


def observing(distribution):
    return "import jax.numpy as jnp\n" + MODEL.replace("Bernoulli(logits=beta * x)", distribution)


VALUES = {
    "no rows": table("the table has no rows", lambda frame: frame.iloc[:0]),
    "text among numbers": table(
        "column x, row 7 is 'n.a.' where 199 rows hold numbers (data.categories names"
        " columns of labels)",
        at("x", 7, "n.a."),
    ),
    "a comma for a point": table(
        "column x, row 7 is '0,5': a number is written without a comma, such as 0.5"
        " (data.categories names columns of labels)",
        at("x", 7, "0,5"),
    ),
    "commas for points everywhere": table(
        "column x, row 1 is '1,5': a number is written without a comma, such as 1.5"
        " (data.categories names columns of labels)",
        change(x="1,5"),
    ),
    "commas in thousands": table(
        "column x, row 1 is '12,345.5': a number is written without a comma, such as 12345.5"
        " (data.categories names columns of labels)",
        change(x="12,345.5"),
    ),
    "NaN": table(
        "column x is empty in row 7 (data.missing: drop leaves such rows out)",
        at("x", 7, np.nan),
    ),
    "NA among numbers": table(
        "column x has no value in row 7 (holds 'NA') (data.missing: drop leaves such rows out)",
        at("x", 7, "NA"),
    ),
    "an empty label": table(
        "column site is empty in row 3 (data.missing: drop leaves such rows out)",
        named(""),
        **AXIS,
    ),
    "NaN in the outcome": table(
        "column y is empty in row 200 (data.missing: drop leaves such rows out)",
        at("y", 200, np.nan),
    ),
    "an empty string": file(
        "column site has no value (empty or NaN) in row 3 (data.missing: drop leaves such"
        " rows out)",
        lambda path, frame: named("")(frame).to_parquet(path),
        "parquet",
        **AXIS,
    ),
    "infinity": table(
        "column x is infinite in row 9 (data.missing: drop leaves such rows out)",
        at("x", 9, -np.inf),
    ),
    "no value anywhere": table(
        "no row is left, because each lacks a value", change(x=np.nan), missing="drop"
    ),
    "an integer beyond float32": Broken(
        "check_study",
        "data.csv: column x, row 7 holds 1e+40, too large for sampler.precision float32: rescale"
        " it, or use float64",
        data=at("x", 7, 10**40),
    ),
    "more successes than trials": counted(
        "row 5 has 4 successes of only 3 trials", at("successes", 5, 4)
    ),
    "a negative count": counted(
        "column trials, row 5 must be a whole number from 0, got -3", at("trials", 5, -3)
    ),
    "half a trial": counted(
        "column trials, row 5 must be a whole number from 0, got 2.5", at("trials", 5, 2.5)
    ),
    "counts beyond memory": counted(
        "data.expand would make more than 2147483647 rows", at("trials", 5, 10**18)
    ),
    "no trials": counted(
        "all counts are 0, so that there are no rows", change(trials=0, successes=0)
    ),
    "text for counts": counted(
        "column trials must hold numbers, row 1 is 'three'", change(trials="three")
    ),
    "an order by a count": counted(
        "data.order must not name a count of data.expand, got trials", order="trials"
    ),
    "units by a count": counted(
        "data.unit must not name a count of data.expand, got trials", unit="trials"
    ),
    "an axis of counts": counted(
        "data.axes must not name a count of data.expand, got successes", axes=["successes"]
    ),
    "counts for categories": counted(
        "data.categories must not name a count of data.expand, got trials", categories=["trials"]
    ),
    "a count for an argument": Broken(
        "prepare",
        "data.csv: model.arguments.x must not name a count of data.expand, got trials",
        {"data": COUNTS, "model": {"arguments": {"x": "trials"}}},
        without_outcome,
    ),
    "a name of the store": table(
        "column __row: scalecheck keeps this name for itself: rename it",
        change(__row=1.5),
        order="__row",
    ),
    "an outcome that is there twice": table(
        "data.expand makes the outcome y, which must not be a column too", **COUNTS
    ),
    "a constant axis": table(
        "column same is 7.5 in every row and cannot be one of data.axes", axes=["site", "same"]
    ),
    "days that do not sort": table(
        "column day, row 1 is '19.02.2026': data.order must be a column of numbers or of"
        " dates such as 2026-02-19",
        change(day="19.02.2026"),
        order="day",
    ),
    "a text for an order": table(
        "column site, row 1 is 'north': data.order must be a column of numbers or of dates"
        " such as 2026-02-19",
        order="site",
    ),
    "an outcome out of support": Broken(
        "check_study",
        "data.csv: row 7 has y = 2, which is outside the support of the observed site y (model.py):"
        " it takes 0 and 1",
        data=at("y", 7, 2),
    ),
    "an outcome that is no whole number": Broken(
        "check_study",
        "data.csv: row 7 has y = 1.5, which is outside the support of the observed site y (model.py):"
        " it takes the whole numbers from 0 to 2",
        data=at("y", 7, 1.5),
        model=observing("Categorical(logits=jnp.stack([0 * x, beta + x, beta * x], axis=1))"),
    ),
    "labels counted from 1": Broken(
        "check_study",
        "data.csv: row 7 has y = 3, which is outside the support of the observed site y (model.py):"
        " it takes the whole numbers from 0 to 2 (and 1 more row)",
        data=lambda frame: at("y", 9, 3)(at("y", 7, 3)(frame)),
        model=observing("OrderedLogistic(beta * x, jnp.array([-1.0, 1.0]))"),
    ),
    "an end of the support": Broken(
        "check_study",
        "data.csv: row 7 has y = 0, where the log likelihood of the observed site y is infinite,"
        " whatever is drawn from the prior (model.py): leave such rows out, or take a"
        " distribution that allows the value, an end of the support (the numbers from 0 to 1)"
        " (and 1 more row)",
        data=lambda frame: at("y", 9, 1)(at("y", 7, 0)(frame.assign(y=0.5 + frame.y / 4))),
        model=observing("Beta(2 + jnp.exp(beta), 3.0)"),
    ),
    "a logarithm of 0": Broken(
        "check_study",
        "data.csv: row 7 has y = 0, which is outside the support of the observed site y (model.py):"
        " it takes the numbers above 0",
        data=lambda frame: at("y", 7, 0)(frame.assign(y=1 + frame.y)),
        model=observing("LogNormal(beta * x, 1.0)"),
    ),
    "no exposure": Broken(
        "check_study",
        "data.csv: row 7 has y = 2 and x = 0, where the log likelihood of the observed site y is"
        " infinite, whatever is drawn from the prior (model.py): leave such rows out, or mend"
        " the model there",
        data=lambda frame: at("x", 7, 0)(at("y", 7, 2)(frame.assign(x=1.0))),
        model=observing("Poisson(x * jnp.exp(beta))"),
    ),
    "no standard error": Broken(
        "check_study",
        "data.csv: row 7 has x = 0, where the log likelihood of the observed site y is NaN,"
        " whatever the outcome and whatever is drawn from the prior (model.py): leave such rows"
        " out, or mend the model there",
        data=lambda frame: at("x", 7, 0)(frame.assign(x=1.0)),
        model=observing("Normal(beta, x)"),
    ),
    "precision lost": Broken(
        "check_study",
        "data.csv: column x loses its precision in float32: rounding moves its values by"
        " 0.93, their standard deviation is 0.92: subtract 1e+08, or use sampler.precision"
        " float64",
        data=lambda frame: frame.assign(x=frame.x + 1e8),
    ),
    "a label that the list lacks": table(
        "column site, row 3 is 'west', which data.categories does not list: it lists north, south",
        named("west"),
        categories=[{"site": ["north", "south"]}],
    ),
    "a column far from zero": Broken(
        "check_study",
        "data.csv: column x lies 10817 standard deviations from zero, so that chains hardly move: subtract 9999.93 from"
        " it, in the file or in the model",
        data=lambda frame: frame.assign(x=frame.x + 1e4),
        model=MODEL.replace("beta * x", "alpha + beta * x").replace(
            "    beta =", '    alpha = numpyro.sample("alpha", dist.Normal(0.0, 1e4))\n    beta ='
        ),
    ),
    "categories of one row": table(
        "column row has a label of its own in every row and cannot be one of data.axes",
        change(row=np.arange(200)),
        axes=["row"],
        categories=["row"],
    ),
}
