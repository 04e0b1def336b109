"""Tests of access tokens: their signature is checked once and remembered, and they are refused
after they expire.
"""

import time
from datetime import timedelta
from uuid import uuid4

import pytest

from services.api.http.errors import NotSignedIn
from services.api.identity import access_tokens
from services.api.identity.access_tokens import AccessTokens

KEY = "k" * 64


def test_a_token_checked_before_still_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, session = AccessTokens(KEY, timedelta(minutes=15)), uuid4()
    token = tokens.make(7, session)
    named = tokens.read(token)
    assert named == tokens.read(token)
    assert (named.account, named.session) == (7, session)
    assert named.ends_at == pytest.approx(time.time() + 15 * 60, abs=2)
    later = time.time() + 15 * 60
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(NotSignedIn, match="has expired"):
        tokens.read(token)


def test_a_genuine_token_makes_no_other_one_genuine() -> None:
    tokens, others = AccessTokens(KEY, timedelta(minutes=15)), AccessTokens("x" * 64, timedelta(minutes=15))
    token, forged = tokens.make(7, uuid4()), others.make(7, uuid4())
    tokens.read(token)
    for wrong in (forged, token[:-1], f"{token[:-2]}AA", f"{token}."):
        with pytest.raises(NotSignedIn, match="not valid"):
            tokens.read(wrong)


def test_the_number_of_remembered_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_tokens, "MAX_KNOWN", 2)
    tokens = AccessTokens(KEY, timedelta(minutes=15))
    for _ in range(5):
        tokens.read(tokens.make(7, uuid4()))
    assert len(tokens._genuine) == 2
