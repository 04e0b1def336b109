"""Builds the gateways (clients of outside services) of the hotel application.

A task body gets its gateway with `context.gateway`.
"""

from typing import Any

from services.worker.hotel.gateways.provider import Pace
from services.worker.hotel.gateways.serpapi import SerpApiGateway
from services.worker.hotel.gateways.smtp import SmtpGateway
from services.worker.hotel.gateways.stripe import StripeGateway
from services.worker.hotel.gateways.travclan import TravClanGateway
from services.worker.hotel.gateways.webpush import WebPushGateway
from services.worker.hotel.mail import PublicLinks
from services.worker.hotel.searches import SerpApiSearches
from shared.hotel.settings import HotelSettings
from shared.settings import Settings


def build(settings: Settings) -> dict[type, Any]:
    """Create one gateway of each class for this process. This opens no connection."""
    hotel = settings.of(HotelSettings)
    pace = Pace(settings.redis_url)
    serpapi = SerpApiGateway.from_settings(hotel, pace)
    clients = (
        SmtpGateway.from_settings(hotel),
        PublicLinks(settings.public_url.rstrip("/")),
        SerpApiSearches(serpapi, hotel.serpapi_reserve),
        TravClanGateway.from_settings(hotel, pace),
        WebPushGateway.from_settings(hotel, pace, threads=settings.worker_threads),
        StripeGateway.from_settings(hotel, pace),
    )
    return {type(client): client for client in clients}
