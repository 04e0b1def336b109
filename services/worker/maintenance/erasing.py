"""What the erasure of accounts is given beside its parameters."""

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
    """Where everything is, and when nothing can be added any more."""

    directory: Directory
    #: After this time no request is under way that began before its account was deactivated.
    requests_last: timedelta


def gateways(settings: Settings) -> dict[type, Any]:
    found = applications.find(settings.applications)
    known = directory.read(found, catalogue.load(found))
    return {Erasing: Erasing(known, settings.request_timeout)}
