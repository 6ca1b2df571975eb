"""Settings that are refused: by the study file itself, or against the data."""

from broken_study import MODEL, Broken


def setting(line, **settings):
    return Broken("configuration", f"study.yaml: {line}", settings=settings)


def no_file(path, frame):
    """Write none."""


def sizes(line, **settings):
    return Broken("plan", line, settings=settings)


LANES = {"increments": {"warm": True}}

SETTINGS = {
    "unknown key": setting("unknown key subset, did you mean subsets?", subset={"count": 2}),
    "unknown key in a section": setting(
        "unknown key data.axis, did you mean axes?", data={"axis": ["site"]}
    ),
    "duplicate key": Broken(
        "configuration",
        "study.yaml: line 14: the key subsets is given twice",
        text=lambda study: study + "seed: 1\nsubsets: {count: 4}\n",
    ),
    "invalid YAML": Broken(
        "configuration",
        "study.yaml: line 14: not valid YAML: expected ',' or ']', but got '<stream end>'",
        text=lambda study: study + "seed: [1\n",
    ),
    "a list as study file": Broken(
        "configuration",
        "study.yaml: a study file must be a mapping of keys, got a list",
        text=lambda study: "- study: small\n",
    ),
    "an object of Python in the study file": Broken(
        "configuration",
        "study.yaml: line 13: not valid YAML: could not determine a constructor for the tag"
        " 'tag:yaml.org,2002:python/object/apply:os.mkdir'",
        text=lambda study: study + "seed: !!python/object/apply:os.mkdir [results]\n",
    ),
    "the section of before": setting(
        "variational is named approximation now: write approximation: {method: flow, batch: 50}",
        variational={"guide": "flow", "batch": 50},
    ),
    "an approximation that is no section": setting(
        "approximation is a section now: write approximation: {when: always}",
        approximation="always",
    ),
    "factor of one": setting(
        "increments.factor must be greater than 1, got 1", increments={"factor": 1}
    ),
    "negative size": setting("subsets.size must be at least 1, got -50", subsets={"size": -50}),
    "negative start": setting(
        "increments.start must be at least 1, got -50", increments={"start": -50}
    ),
    "part of a gradient": setting(
        "sampler.max_gradients must be of type integer or null, got 1.5",
        sampler={"max_gradients": 1.5},
    ),
    "a column named twice": setting(
        "data.categories names the column site twice",
        data={"categories": ["site", {"site": ["north", "south"]}]},
    ),
    "a label twice": setting(
        "data.categories gives the label 1 of site twice", data={"categories": [{"site": ["1", 1]}]}
    ),
    "no labels": setting(
        "data.categories.0.site must not be empty", data={"categories": [{"site": []}]}
    ),
    "labels that are no text": setting(
        "data.categories.0.site.1 must be of type text or integer or number, got false",
        data={"categories": [{"site": ["yes", False]}]},
    ),
    "missing data file": setting(
        "data.file must be an existing file, got dta.csv", data={"file": "dta.csv"}
    )._replace(file=no_file),
    "a folder as data file": setting(
        "data.file must be an existing file, got .", data={"file": "."}
    )._replace(file=no_file),
    "missing program that makes the data": setting(
        "data.made_by must be an existing file, got mak.py",
        data={"file": "made.csv", "made_by": "mak.py"},
    ),
    "missing model file": setting("model.file must be an existing file, got model.py")._replace(
        model=None
    ),
    "warm starts of an engine without": setting(
        'increments.warm needs sampler.engine to be lanes, got "numpyro"',
        **LANES,
        sampler={"engine": "numpyro"},
    ),
    "warm starts of a dense metric": setting(
        'increments.warm needs sampler.metric to be diagonal, got "dense"',
        **LANES,
        sampler={"metric": "dense"},
    ),
    "warm starts beside units that are integrated out": setting(
        'increments.warm needs sampler.marginalise to be null, got "units"',
        **LANES,
        sampler={"marginalise": "units"},
    ),
    "units integrated out by another engine": setting(
        'sampler.marginalise: units needs sampler.engine to be lanes, got "numpyro"',
        sampler={"marginalise": "units", "engine": "numpyro"},
    ),
    "units integrated out in other coordinates": setting(
        'sampler.marginalise: units needs sampler.reparam to be {}, got {"own": 0}',
        sampler={"marginalise": "units", "reparam": {"own": 0}},
    ),
    "warm starts beside starts from the previous increment": setting(
        "sampler.start is previous, but with increments.warm increments start from the previous one"
        " already: use one of the two",
        **LANES,
        sampler={"start": "previous"},
    ),
    # what would be written elsewhere
    "a study above the folder of results": setting(
        'study must begin with a letter or digit and hold only letters, digits, _ . and -, got "../x"',
        study="../x",
    ),
    "a study of two lines": setting(
        'study must begin with a letter or digit and hold only letters, digits, _ . and -, got "x\\n"',
        study="x\n",
    ),
    "a table that is made elsewhere": setting(
        "data.file, which data.made_by writes, must lie below the working directory or the folder of the study"
        " file, got ../made.csv",
        data={"file": "../made.csv", "made_by": "model.py"},
    ),
    # columns
    "misspelt argument": Broken(
        "prepare",
        "data.csv: no column xx, which model.arguments.x names, did you mean x?",
        {"model": {"arguments": {"x": "xx"}}},
    ),
    "argument that the model lacks": Broken(
        "prepare",
        "model.py: the function model has no argument dose, which model.arguments names",
        {"model": {"arguments": {"dose": "x"}}},
    ),
    "outcome that the model lacks": Broken(
        "prepare",
        "model.py: the function model has no argument yy, which data.outcome names, did you mean y?",
        {"data": {"outcome": "yy"}},
    ),
    "outcome without a column": Broken(
        "prepare",
        "data.csv: no column y, which data.outcome names; it has x, died, site, patient, trials, successes, same",
        data=lambda frame: frame.rename(columns={"y": "died"}),
    ),
    "model argument without a column": Broken(
        "prepare",
        "data.csv: no column sites, which the function model of model.py takes, did you mean site?",
        model=MODEL.replace("model(x, y", "model(x, sites, y"),
    ),
    "misspelt axis": Broken(
        "prepare",
        "data.csv: no column sitee, which data.axes names, did you mean site?",
        {"data": {"axes": ["sitee"]}},
    ),
    "misspelt unit": Broken(
        "prepare",
        "data.csv: no column pateint, which data.unit names, did you mean patient?",
        {"data": {"unit": "pateint"}},
    ),
    "misspelt order": Broken(
        "prepare",
        "data.csv: no column yeer, which data.order names; it has x, y, site, patient, trials, successes, same",
        {"data": {"order": "yeer"}},
    ),
    "axes of one file name": Broken(
        "prepare",
        "data.csv: data.axes must differ in more than punctuation, got a b, a-b",
        {"data": {"axes": ["a b", "a-b"]}},
        lambda frame: frame.assign(**{"a b": 1, "a-b": 2}),
    ),
    "the outcome as an axis": Broken(
        "prepare",
        "data.csv: data.axes must not name the outcome, got y",
        {"data": {"axes": ["site", "y"]}},
    ),
    # sites
    "compare names no site": Broken(
        "check_study",
        "model.py: model.compare names bta, which is no latent site, did you mean beta?",
        {"model": {"compare": ["bta"]}},
    ),
    "keep names no site": Broken(
        "check_study",
        "sampler.keep names bta, which is no site of model.py, did you mean beta?",
        {"sampler": {"keep": ["bta"]}},
    ),
    "metric names a site twice": Broken(
        "check_study",
        "sampler.metric must name a site once, got beta twice",
        {"sampler": {"metric": [["beta"], ["beta"]]}},
    ),
    "metric names no site": Broken(
        "check_study",
        "sampler.metric names bta, which is no latent site of model.py, did you mean beta?",
        {"sampler": {"metric": [["bta"]]}},
    ),
    # sizes
    "subset larger than the data": sizes(
        "subsets.size must be at most the 200 rows of data.csv, got 201", subsets={"size": 201}
    ),
    "subsets larger than the data": sizes(
        "subsets.count must be at most 4 disjoint subsets of subsets.size 50 in the 200 rows of data.csv, got 5",
        subsets={"count": 5},
    ),
    "start larger than the data": sizes(
        "increments.start must be at most the 200 rows of data.csv, got 201",
        increments={"start": 201, "end": None},
    ),
    "end larger than the data": sizes(
        "increments.end must be between increments.start 50 and the 200 rows of data.csv, got 201",
        increments={"end": 201},
    ),
    "unit larger than a subset": sizes(
        "subsets.size must be at least the 4 rows of the largest unit in data.csv, got 3",
        data={"unit": "patient"},
        subsets={"size": 3},
    ),
}
