"""The platform and the hotel application, as a process finds them."""

from shared import applications

HOTEL = applications.find("shared.hotel")
