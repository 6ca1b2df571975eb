"""The profiles that are shipped: their figures run through `make test-slurm`, here stand facts of their text."""

import re
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).parents[1]
PROFILES = sorted((CHECKOUT / "workflow/profiles").glob("*/config.yaml"))
RULES = "".join(path.read_text() for path in (CHECKOUT / "workflow/rules").glob("*.smk"))


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.parent.name)
def test_every_figure_of_a_profile_has_its_reason(path):
    keys = re.findall(r"^([a-z-]+):", path.read_text(), flags=re.MULTILINE)
    assert set(keys) == set(yaml.safe_load(path.read_text()))
    # Sections have theirs inside.
    without = [key for key in keys if f"\n\n{key}:" in path.read_text()]
    assert without in ([], ["default-resources"])


def test_the_rules_that_take_a_gpu_are_those_that_the_slurm_profile_gives_a_gres():
    text = (CHECKOUT / "workflow/profiles/slurm/config.yaml").read_text()
    ready = re.sub(r"^# ?", "", text[text.index("# set-resources:") :], flags=re.MULTILINE)
    given = yaml.safe_load(ready)["set-resources"]
    rules = re.split(r"^(?:rule|checkpoint) (\w+):$", RULES, flags=re.MULTILINE)[1:]
    taking = {
        name for name, body in zip(rules[::2], rules[1::2], strict=True) if "gpu=gpus" in body
    }
    assert len(taking) == 5
    assert {name for name, resources in given.items() if resources.get("gres") == "gpu:1"} == taking


def test_time_is_cut_at_the_longest_that_an_increment_may_ask_for():
    from scalecheck.study import resources as resources_module

    profile = yaml.safe_load((CHECKOUT / "workflow/profiles/slurm/config.yaml").read_text())
    assert profile["default-resources"]["runtime"] == f"attempt * {resources_module.UNKNOWN}"
    assert profile["retries"] * resources_module.UNKNOWN < resources_module.MOST
