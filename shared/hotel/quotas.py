"""The daily quotas of the hotel application; the value of `Application.quotas`."""

from collections.abc import Mapping

from shared.hotel.settings import HotelSettings
from shared.settings import Settings


def per_day(settings: Settings) -> Mapping[str, str]:
    """The amounts by role, by the name that contracts give as their `quota`."""
    hotel = settings.of(HotelSettings)
    return {"searches": hotel.quota_searches, "mails": hotel.quota_mails}
