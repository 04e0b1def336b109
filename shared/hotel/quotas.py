"""Defines the daily quotas of the hotel application. `Application.quotas` refers to this module."""

from collections.abc import Mapping

from shared.hotel.settings import HotelSettings
from shared.settings import Settings


def per_day(settings: Settings) -> Mapping[str, str]:
    """Return the amounts of each quota by role, as text.

    The keys are the names of quotas that contracts use.
    """
    hotel = settings.of(HotelSettings)
    return {"searches": hotel.quota_searches, "mails": hotel.quota_mails}
