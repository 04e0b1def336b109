"""The gateway that gives the erasure task what it needs to know about this installation."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from shared import applications
from shared.contracts import catalogue
from shared.personal import directory
from shared.personal.directory import Directory
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Erasing:
    """What the erasure of an account needs: the directory of all data about accounts, and a time
    limit.
    """

    directory: Directory
    #: Maximum duration of a request. A request that began before the account was deactivated may
    #: still add data for this long.
    requests_last: timedelta


def gateways(settings: Settings) -> dict[type, Any]:
    found = applications.find(settings.applications)
    known = directory.read(found, catalogue.load(found))
    return {Erasing: Erasing(known, settings.request_timeout)}
