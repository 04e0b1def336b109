"""Contracts for tests of workflows: of a payment, and of a search that scans hotels."""

from typing import Annotated

from shared.contracts.contract import Contract, Params, Result
from shared.contracts.outcome import StepOutcome
from shared.contracts.sensitivity import SENSITIVE


class Validate(Params):
    user_id: int
    amount: str = "1.00"


class Quote(Result):
    quote: int
    token: Annotated[str, SENSITIVE] = ""


class Charge(Params):
    user_id: int
    quote: float
    token: Annotated[str, SENSITIVE] = ""


class Charged(Result):
    payment_id: str


class Receipt(Params):
    payment_id: str


class Refund(Params):
    charge: StepOutcome


class Scan(Params):
    hotel_id: int


class Scanned(Result):
    price: int


class Summarize(Params):
    hotels: list[Scanned]


class Span(Params):
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("must not be below low")


class Nothing(Params):
    pass


class Done(Result):
    pass


VALIDATE = Contract(name="pay.validate", queue="default", params=Validate, result=Quote)
CHARGE = Contract(name="pay.charge", queue="default", params=Charge, result=Charged)
RECEIPT = Contract(name="pay.send_receipt", queue="default", params=Receipt, result=Done, priority=2)
REFUND = Contract(name="pay.refund", queue="default", params=Refund, result=Done)
SCAN = Contract(name="hotel.scan", queue="default", params=Scan, result=Scanned)
SUMMARIZE = Contract(name="hotel.summarize", queue="default", params=Summarize, result=Done)
SPAN = Contract(name="hotel.span", queue="default", params=Span, result=Done)
NOTHING = Contract(name="hotel.nothing", queue="default", params=Nothing, result=Done)
