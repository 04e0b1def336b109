"""Builds the clients of the outside services; a body asks for one with `context.gateway`."""

from typing import Any

from services.worker.gateways.provider import Pace
from services.worker.gateways.serpapi import SerpApiGateway
from services.worker.gateways.smtp import SmtpGateway
from services.worker.gateways.stripe import StripeGateway
from services.worker.gateways.travclan import TravClanGateway
from services.worker.gateways.webpush import WebPushGateway
from services.worker.mail import PublicLinks
from services.worker.searches import SerpApiSearches
from shared.settings import Settings


def build(settings: Settings) -> dict[type, Any]:
    """One of each per process, by its class. Connects to nothing yet."""
    pace = Pace(settings.redis_url)
    serpapi = SerpApiGateway.from_settings(settings, pace)
    clients = (
        SmtpGateway.from_settings(settings),
        PublicLinks(settings.public_url.rstrip("/")),
        SerpApiSearches(serpapi, settings.serpapi_reserve),
        TravClanGateway.from_settings(settings, pace),
        WebPushGateway.from_settings(settings, pace),
        StripeGateway.from_settings(settings, pace),
    )
    return {type(client): client for client in clients}
