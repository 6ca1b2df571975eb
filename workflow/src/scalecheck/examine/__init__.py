"""Run the families of checks over the fits of a study, and look at each increment as it ends."""

from scalecheck.examine.examined import Examined
from scalecheck.examine.run import examine, look
from scalecheck.examine.units import describe_units

__all__ = ["Examined", "describe_units", "examine", "look"]
