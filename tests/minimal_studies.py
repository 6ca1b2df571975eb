"""The smallest study files, as tests write them."""

import yaml

PARTS = {"data": {"file": "data.csv", "outcome": "y"}, "model": {"file": "model.py"}}


def begin(folder):
    """Write the data file and the model file that `PARTS` names."""
    (folder / "data.csv").write_text("y\n1\n")
    (folder / "model.py").write_text("def model(y=None): ...\n")


def write(path, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"study": path.stem, **PARTS, **settings}))
    return str(path)
