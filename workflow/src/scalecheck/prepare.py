"""From the file of a study to its store."""

from scalecheck import data, orders, store
from scalecheck.model import parameter_names
from scalecheck.records import StudyFolder
from scalecheck.study import DataSettings, ModelSettings


def prepare(
    folder: StudyFolder, settings: DataSettings, model: ModelSettings, levels: int, seed: int
) -> store.Meta:
    """Read, check, encode and order a study's data, and write the store.

    Parameters
    ----------
    folder
        Of the study's results.
    levels
        Levels of an axis at most.

    Raises
    ------
    StudyError
        One line that names the file, the column and the row.
    """
    named = [
        column
        for value in model.arguments.values()
        for column in ([value] if isinstance(value, str) else value)
    ]
    parameters = [name for name in parameter_names(model) if name not in model.arguments]
    counted = [name[2:] for name in parameters if name.startswith("n_")]
    table = data.read_table(settings, named, [*parameters, *counted])
    axes = {name: orders.cut_axis(table, name, levels) for name in settings.axes}
    arrival = orders.arrival_order(table, settings, seed)
    return store.write(folder.data, table, axes, arrival, settings.unit, seed)
