"""A way to sample a fit: what it changes of the settings, and the lines of the study file that say so."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from scalecheck.study.settings import SamplerSettings

AS_IT_IS = "as it is"

# The kinds of which one can be taken each; `neutra` is none of the study file.
KINDS = ("reparam", "metric", "max_tree_depth", "target_accept", "start")
NEUTRA = "neutra"


class Candidate(NamedTuple):
    """A way to sample.

    Attributes
    ----------
    kind
        A key of `KINDS`, `neutra`, `combined`, or `as it is`.
    changes
        Keys of the section `sampler` and their values; empty of what is as it is, and of `neutra`.
    """

    kind: str
    changes: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The changes in short."""
        if not self.changes:
            return self.kind
        return ", ".join(f"{key}: {_yaml(value)}" for key, value in self.changes.items())

    def settings(self, sampler: SamplerSettings) -> SamplerSettings:
        """Give the settings with the changes; sites of `reparam` are added to those that are there."""
        changes = dict(self.changes)
        if "reparam" in changes:
            changes["reparam"] = {**sampler.reparam, **changes["reparam"]}
        return dataclasses.replace(sampler, **changes)

    def lines(self, sampler: SamplerSettings, *, marginalises: bool = False) -> str:
        """Give the lines of a study file for it; empty where no key says it.

        Parameters
        ----------
        marginalises
            Whether the study has its units integrated out, which no candidate has.
        """
        chosen = self.settings(sampler)
        keys = [key for key in KINDS if key in self.changes]
        lines = [f"  {key}: {_yaml(getattr(chosen, key))}" for key in keys]
        lines += ["  marginalise: null"] if marginalises else []
        return "\n".join(["sampler:", *lines]) if lines else ""


def combined(one: Candidate, other: Candidate) -> Candidate:
    """Put the changes of two kinds together."""
    return Candidate("combined", {**one.changes, **other.changes})


def _yaml(value: Any) -> str:
    """A value as a line of YAML has it: names without quotes, 0 instead of 0.0."""
    match value:
        case Mapping():
            return "{" + ", ".join(f"{name}: {_yaml(part)}" for name, part in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_yaml, value)) + "]"
        case float():
            return f"{value:g}"
        case str():
            return value if value.replace("_", "").replace(":", "").isalnum() else json.dumps(value)
        case _:
            return str(value)
