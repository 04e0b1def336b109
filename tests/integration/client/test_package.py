"""Tests that the client's package can be installed as another application would install it."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.api_process import Api
from tests.platform import ROOT, Platform

SOURCE = ROOT / "clients/python"
#: Options of pip to build and install without a package index, with the build tool from the lock
#: file.
OFFLINE = ("--quiet", "--no-index", "--no-deps")
PROGRAM = """
import sys

import often_client

api, token, installed = sys.argv[1:]
assert often_client.__file__.startswith(installed), often_client.__file__
assert not {"httpx", "ssl", "asyncio"} & {*sys.modules}
with often_client.Client(api, token) as client:
    print(client.submit("system.health_check", {}))
assert not {"shared", "services"} & {*sys.modules}
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the package's wheel.

    The source is copied first, because building leaves files behind.
    """
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("*.egg-info", "build", "__pycache__"))
    pip("wheel", *OFFLINE, "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    (built,) = folder.glob("often_client-*.whl")
    return built


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    """Install the package alone into a folder.

    Its dependencies come from the environment of the tests.
    """
    folder = tmp_path / "installed"
    pip("install", *OFFLINE, "--target", str(folder), str(wheel))
    return folder


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", *arguments], check=True, timeout=120)


def test_the_wheel_holds_every_module_and_nothing_else(wheel: Path) -> None:
    sources = {
        str(file.relative_to(SOURCE / "src"))
        for file in (SOURCE / "src/often_client").rglob("*")
        if file.suffix == ".py" or file.name == "py.typed"
    }
    assert "often_client/py.typed" in sources
    built = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert built == sources


async def test_an_application_that_has_only_the_package_submits_tasks(
    platform: Platform, installed: Path, tmp_path: Path
) -> None:
    api = Api(platform)
    await api.start()
    account = await api.sign_up()
    token = account.headers["Authorization"].removeprefix("Bearer ")
    await account.aclose()

    async def printed(*command: str, **environment: str) -> str:
        path = {"PYTHONPATH": str(installed), "XDG_STATE_HOME": str(tmp_path)}
        return await asyncio.to_thread(output, [sys.executable, *command], tmp_path, {**path, **environment})

    by_program = await printed("-c", PROGRAM, api.url, token, str(installed))
    command = (str(installed / "bin/often"), "submit", "system.health_check")
    by_command = await printed(*command, OFTEN_API=api.url, OFTEN_TOKEN=token)
    tasks = await platform.rows("SELECT id FROM task WHERE name = 'system.health_check' ORDER BY id")
    assert [by_program, by_command] == [str(task["id"]) for task in tasks]


def output(command: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    """Run a program that must succeed. Returns what it prints."""
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()
