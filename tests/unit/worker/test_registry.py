import pytest

from services.worker import registry
from shared.contracts import catalogue
from tests.installed import INSTALLED
from tests.sample_tasks import INSTANT, Done, Nothing, instant


def test_every_contract_has_exactly_one_function() -> None:
    assert set(registry.load(INSTALLED)) == set(catalogue.load(INSTALLED).by_name)


def test_two_functions_for_one_contract_are_refused() -> None:
    @registry.task(INSTANT)
    def other(context: object, params: Nothing) -> Done:
        return Done(attempt=0)

    with pytest.raises(ValueError, match=r"two functions have the contract sample\.instant"):
        registry.add({}, [instant, other])
