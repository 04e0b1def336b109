"""Chooses which outside services are used for real: those whose API keys are in the environment.

The sandbox simulates the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

#: API keys that the sandbox accepts: for all simulated services but Stripe, and for Stripe.
KEY, STRIPE_KEY = "sandbox", "sk_test_sandbox"
#: Rate limit of a simulated service, so high that it is never reached.
RATE = "1000/second"


@dataclass(frozen=True, slots=True)
class StandIns:
    """The outside services that the sandbox simulates, and the environment variables that direct
    the gateways to the sandbox.
    """

    services: list[str]
    environment: dict[str, str]


def stand_ins(environment: Mapping[str, str], sandbox: str, vapid_private_key: str) -> StandIns:
    """Choose the outside services to simulate. `sandbox` is the sandbox's address.

    A service whose API key is in `environment` is used for real, with its own settings.
    """
    plays = {
        "SerpApi": {
            "SERP_API_KEY": KEY,
            "SERP_API_BASE_URL": f"{sandbox}/serpapi",
            "OFTEN_SERPAPI_RATE": RATE,
        },
        "TravClan": {
            "TRAVCLAN_API_KEY": KEY,
            "TRAVCLAN_MERCHANT_ID": KEY,
            "TRAVCLAN_USER_ID": KEY,
            "TRAVCLAN_AUTH_URL": f"{sandbox}/travclan/auth",
            "TRAVCLAN_HOTEL_URL": f"{sandbox}/travclan/hotel",
            "TRAVCLAN_VOLT_URL": f"{sandbox}/travclan/volt",
            "OFTEN_TRAVCLAN_RATE": RATE,
        },
        "Stripe": {
            "STRIPE_SECRET_KEY": STRIPE_KEY,
            "STRIPE_BASE_URL": f"{sandbox}/stripe",
            "OFTEN_STRIPE_RATE": RATE,
        },
        "Web Push": {
            "VAPID_PRIVATE_KEY": vapid_private_key,
            "OFTEN_PUSH_SANDBOX_URL": f"{sandbox}/push",
            "OFTEN_PUSH_RATE": RATE,
        },
    }
    played = {name: settings for name, settings in plays.items() if not environment.get(next(iter(settings)))}
    return StandIns(list(played), {k: v for settings in played.values() for k, v in settings.items()})
