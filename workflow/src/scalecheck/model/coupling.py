"""How the rows of a model depend on each other, as `check_study` found it and model.json keeps it.

No JAX here: what only plans starts fast.
"""

from typing import NamedTuple

from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder


class Coupling(NamedTuple):
    """How the rows of a model depend on each other.

    Attributes
    ----------
    kind
        `independent`: given the parameters, no row depends on another. `joint`: they share a density that knows no
        order of rows, as that of a Gaussian process. `ordered`: each continues its neighbours. `statistic`: the log
        likelihood of a row takes a statistic of all rows.
    blocks
        Whether neighbours can be fitted without the rows before them: not where they continue these.
    arguments
        Of a statistic: the model arguments that it is taken of; none where it is the number of rows.
    """

    kind: str = "independent"
    blocks: bool = True
    arguments: tuple[str, ...] = ()

    @property
    def ordered(self) -> bool:
        """Whether rows continue each other, so that they may be neither shuffled nor picked."""
        return self.kind == "ordered"


def read_coupling(folder: StudyFolder) -> Coupling:
    """Read from model.json how the rows of a study depend on each other; results of earlier versions do not say."""
    found = formats.read_json(folder.model)
    return Coupling(found.get("rows", "independent"), found.get("blocks", True))
