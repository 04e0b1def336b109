"""Tests that the code for this project that the documentation shows runs unchanged."""

import re
from typing import Any

import pytest

from shared.contracts.contract import Contract
from shared.errors import PermanentError, Retry
from tests.platform import ROOT

MIGRATION = (ROOT / "docs/migrating_from_celery.md").read_text()
#: Each Python block on the page, with the paragraph before it.
BLOCKS = re.findall(r"([^\n]+)\n\n```python\n(.*?)```", MIGRATION, re.DOTALL)


def test_the_shown_code_runs() -> None:
    namespace: dict[str, Any] = {}
    shown = [code for before, code in BLOCKS if not before.startswith("Then") and "await" not in code]
    exec("".join(shown), namespace)

    with pytest.raises(Retry, match="rate limited"):
        namespace["check"](429)
    with pytest.raises(PermanentError, match="refused with 404"):
        namespace["check"](404)

    contracts = [value for value in namespace.values() if isinstance(value, Contract)]
    assert {contract.name for contract in contracts} == {
        "refunds.process",
        "refunds.remind",
        "refunds.process_all",
        *(f"canvas.{name}" for name in ("validate", "process", "confirm", "send_email")),
        *(f"canvas.{name}" for name in ("process_hotel", "send_summary")),
    }
