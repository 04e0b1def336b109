"""Defines the workflow that sends mail about fallen prices: one mail to each of many users."""

from collections.abc import Sequence
from datetime import timedelta

from shared.hotel.contracts.email import SEND_DIGEST, SendDigest
from shared.workflows.wiring import MAX_MEMBERS
from shared.workflows.workflow import Workflow

#: Number of mails out of ten that must be sent for the workflow to succeed. Some addresses no
#: longer exist when their mail is sent.
ENOUGH_OF_TEN = 9
DEADLINE = timedelta(days=2)


def digest(user_ids: Sequence[int]) -> Workflow:
    """Build the workflow that sends a mail to each user.

    It succeeds if nine of ten mails were sent.
    """
    flow = Workflow("digest", deadline=DEADLINE)
    for first in range(0, len(user_ids), MAX_MEMBERS):
        readers = user_ids[first : first + MAX_MEMBERS]
        enough = -(-len(readers) * ENOUGH_OF_TEN // 10)
        flow.group(SEND_DIGEST, [SendDigest(user_id=each) for each in readers], at_least=enough)
    return flow
