"""Tests that the simulated Stripe issues no id twice, even if it is restarted while the ledger
still knows earlier ids.
"""

from local.sandbox.stripe import Stripe


async def test_no_id_of_an_earlier_start_comes_back() -> None:
    form = {
        "amount": "100",
        "currency": "inr",
        "payment_method": "pm_card_visa",
        "confirm": "true",
        "return_url": "https://often.example",
    }
    first, second = [(await Stripe().create(form)).body for _ in range(2)]
    assert first["status"] == second["status"] == "succeeded"
    assert first["id"] != second["id"]
    assert first["latest_charge"] != second["latest_charge"]
