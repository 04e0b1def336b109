"""Tests of rate limits: which addresses count as one caller, and how many requests a process may
admit without asking Redis.
"""

import pytest
from limits import parse

from services.api.identity.rate_limits import _Count, network


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("localhost", "localhost"),
        ("", ""),
    ],
)
def test_an_address_counts_as_the_network_of_one_caller(host: str, counted: str) -> None:
    assert network(host) == counted


def test_an_overtaken_answer_hides_no_requests_of_others() -> None:
    count = _Count("user:7", parse("1000/hour"))
    first, second = count.begin(), count.begin()
    count.settle(second, 1_000)
    count.settle(first, 900)
    assert not count.take()
    # Redis reports a lower count, because older requests have left the sliding window.
    count.settle(count.begin(), 900)
    assert count.take()


def test_a_process_lets_no_more_than_its_share_through_while_redis_has_not_answered() -> None:
    count = _Count("user:7", parse("1000/hour"))
    passed = sum(count.take() for _ in range(6))
    sent = count.begin()
    passed += sum(count.take() for _ in range(6))
    assert passed == 10
    count.settle(sent, None)
    assert not count.take()
