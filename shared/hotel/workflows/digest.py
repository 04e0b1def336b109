"""The digest: one mail to each of many readers."""

from collections.abc import Sequence
from datetime import timedelta

from shared.hotel.contracts.email import SEND_DIGEST, SendDigest
from shared.workflows.wiring import MAX_MEMBERS
from shared.workflows.workflow import Workflow

#: Mails in ten that must go out. Some addresses no longer exist by the time a mail is sent.
ENOUGH_OF_TEN = 9
DEADLINE = timedelta(days=2)


def digest(user_ids: Sequence[int]) -> Workflow:
    """A digest to each user. It is a success when nine of ten mails were sent."""
    flow = Workflow("digest", deadline=DEADLINE)
    for first in range(0, len(user_ids), MAX_MEMBERS):
        readers = user_ids[first : first + MAX_MEMBERS]
        enough = -(-len(readers) * ENOUGH_OF_TEN // 10)
        flow.group(SEND_DIGEST, [SendDigest(user_id=each) for each in readers], at_least=enough)
    return flow
