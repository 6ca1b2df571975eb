"""Days since 1970 of dates, as times or as text in any form of ISO 8601."""

import datetime

import numpy as np
import pandas as pd

# Days with a time or without, and months. What follows a day is left to pandas to judge.
_DAY = r"[0-9]{4}-[0-9]{2}(-[0-9]{2}([T ][0-9]\S*( [+-]\S+)?)?)?"
_QUARTER_OR_WEEK = r"[0-9]{4}-(Q[1-4]|W[0-9]{2}(-[1-7])?)"

_EPOCH = datetime.date(1970, 1, 1).toordinal()


def days_since_1970(times: pd.Series | pd.Index) -> np.ndarray:
    """Give days of times without a zone, or in UTC; NaN where there is none. `(times,)`."""
    days = times.to_numpy("datetime64[us]").astype("int64") / 86_400e6
    return np.where(times.isna(), np.nan, days)


def days_of(texts: pd.Index) -> np.ndarray:
    """Give days since 1970 up to when the time that a text names begins; NaN where it is no date. `(texts,)`.

    Times with an offset are those of UTC, and so are times without.
    """
    found = np.full(len(texts), np.nan)
    texts = texts.astype(str)
    written = np.asarray(texts.str.fullmatch(_DAY), bool)
    if written.any():
        times = pd.to_datetime(texts[written], format="ISO8601", utc=True, errors="coerce")
        found[written] = days_since_1970(times.tz_localize(None))
    other = np.flatnonzero(~written)
    other = other[np.asarray(texts[other].str.fullmatch(_QUARTER_OR_WEEK), bool)]
    found[other] = [_begin(text) for text in texts[other]]
    return found


def _begin(text: str) -> float:
    """First day of a quarter or of a week, or a day of a week."""
    year, part = text.split("-", 1)
    iso = f"{year}-{3 * int(part[1:]) - 2:02d}-01" if part[0] == "Q" else text
    try:
        return float(datetime.date.fromisoformat(iso).toordinal() - _EPOCH)
    except ValueError:  # the year 0, or a week that a year has not
        return np.nan
