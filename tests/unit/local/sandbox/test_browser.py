"""Tests that the sandbox's simulated browser follows the Web Push standard, and does not merely
accept what our own sender sends.
"""

import pytest

from local.sandbox.browser import Browser, Unreadable
from shared.hotel import web_push

#: The example of an encrypted push message in RFC 8291, section 5: the browser's keys and the
#: message's body.
PRIVATE, AUTH = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94", "BTBZMqHH6r4Tts7J_aSIgg"
BODY = web_push.decode(
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8w"
    "EqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)


def browser() -> Browser:
    return Browser(web_push.private_key(PRIVATE), web_push.decode(AUTH))


def test_the_example_of_the_standard_is_read() -> None:
    assert browser().decrypt(BODY) == b"When I grow up, I want to be a watermelon"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        BODY[:100],
        BODY[:-1],
        BODY[:-1] + bytes([BODY[-1] ^ 1]),
        BODY[:16] + bytes([0, 0, 0, 20]) + BODY[20:],
        BODY[:21] + b"\x04" + bytes(64) + BODY[86:],
    ],
)
def test_any_other_body_is_refused(body: bytes) -> None:
    with pytest.raises(Unreadable):
        browser().decrypt(body)
    with pytest.raises(Unreadable):
        Browser.fresh().decrypt(BODY)
