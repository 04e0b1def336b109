"""The API keeps to its own OpenAPI document, whatever it is asked: hundreds of made-up requests."""

import asyncio
import subprocess
import sys
from pathlib import Path

from cli.client import Client
from tests.api_process import Api
from tests.platform import Platform

PASSWORD = "a horse, a battery"
#: Per operation and phase; bounds the time; what the document itself suggests is tried besides.
EXAMPLES = 6
#: A document cannot say which cursors, addresses or combinations of fields there are.
LEFT_OUT = "positive_data_acceptance"


async def test_the_api_keeps_to_its_document(platform: Platform, tmp_path: Path) -> None:
    api = Api(platform)
    await api.start(OFTEN_RATE_LIMIT_ADDRESS="100000/minute")
    with Client(api.url) as client:
        client.register("admin@often.example", PASSWORD)
        await platform.rows("UPDATE account SET role = 'administrator'")
        client.sign_in("admin@often.example", PASSWORD)
        credentials = client._http.headers["Authorization"]

    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{api.url}/api/v1/schema/openapi.json"),
        *("--header", f"Authorization: {credentials}"),
        *("--exclude-checks", LEFT_OUT, "--max-examples", str(EXAMPLES)),
        *("--generation-deterministic", "--continue-on-failure", "--no-color"),
    ]
    ran = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Traceback" not in platform.log_of(api.process)
