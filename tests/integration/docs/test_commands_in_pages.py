"""Tests that a real database and a real API accept the statements and requests that the
documentation shows.
"""

import json
import re
import secrets
from uuid import uuid4

import asyncpg
import httpx
import pytest

from often_client import Client
from tests.api_process import Api
from tests.platform import ROOT, Platform

TROUBLESHOOTING = (ROOT / "docs/troubleshooting.md").read_text()
STATEMENTS = re.findall(r'^sql "(.*?)"$', TROUBLESHOOTING, re.DOTALL | re.MULTILINE)
#: Path and body of each request with a body that the pages about the API and about schedules show.
REQUESTS = [
    (path, body)
    for page in ("api", "schedules")
    for path, body in re.findall(
        r"curl -s \$api/(\S+)[^'\"]*[^{]*? -d '(\{.*?\})'",
        (ROOT / f"docs/{page}.md").read_text().replace("\\\n", ""),
        re.DOTALL,
    )
]
PASSWORD = "correct horse"


def test_the_pages_have_statements_and_requests() -> None:
    assert len(STATEMENTS) > 5
    assert len(REQUESTS) == 3


@pytest.mark.parametrize("statement", STATEMENTS)
async def test_a_statement_runs(database_url: str, statement: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert isinstance(await connection.fetch(statement.replace("$TASK", str(uuid4()))), list)
    finally:
        await connection.close()


async def test_the_requests_are_accepted(platform: Platform) -> None:
    api = Api(platform)
    await api.start()
    email = f"{secrets.token_hex(8)}@often.example"
    with Client(api.url) as client:
        account = client.register(email, PASSWORD)
        await platform.rows("UPDATE account SET role = 'operator' WHERE id = {}", account.id)
        client.sign_in(email, PASSWORD)
        headers = {"Authorization": f"Bearer {client.session.token}"}
    async with httpx.AsyncClient(base_url=f"{api.url}/api/v1/", headers=headers, trust_env=False) as http:
        for path, body in REQUESTS:
            content = json.loads(body.replace("asha@often-hotels.example", email))
            answer = await http.post(path, json=content)
            assert answer.is_success, (path, answer.text)
