"""Each container gets the secrets of its service, and no others."""

import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from shared import environment
from shared.environment import IN_FILE
from shared.hotel.settings import HotelSettings
from shared.settings import Settings

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SECRETS = environment.secrets(Settings) | environment.secrets(HotelSettings)
#: Containers by name, without those of other makers and without the migration.
OURS = {
    name: one
    for name, one in COMPOSE["services"].items()
    if one["image"].startswith("often-tasks-") and name != "migrate"
}
KEYS = sorted(variable for variable, services in SECRETS.items() if services == ("worker",))


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_container_gets_files_of_its_service_only(name: str) -> None:
    service = name.partition("-")[0]
    files = {key: value for key, value in OURS[name]["environment"].items() if key.endswith(IN_FILE)}
    given = {key.removesuffix(IN_FILE): value for key, value in files.items()}
    assert [variable for variable in given if service not in SECRETS[variable]] == []
    assert given["DATABASE_URL"] == f"/run/secrets/database_url_{service}"
    assert given["REDIS_URL"] == f"/run/secrets/redis_url_{service}"
    assert sorted(Path(path).name for path in given.values()) == sorted(OURS[name]["secrets"])


@pytest.mark.parametrize("secret", KEYS)
def test_the_key_of_an_outside_service_reaches_one_group_of_workers(secret: str) -> None:
    having = [name for name, one in OURS.items() if f"{secret}{IN_FILE}" in one["environment"]]
    assert len(having) == 1


def test_the_addresses_that_are_made_are_those_of_the_roles(tmp_path: Path) -> None:
    subprocess.run([ROOT / "deploy/make_secrets.sh", tmp_path], check=True)
    made = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert COMPOSE["secrets"].keys() <= made.keys()
    for service in ("migrate", "api", "worker", "scheduler"):
        url = urlsplit(made[f"database_url_{service}"])
        assert (url.username, url.password) == (f"often_{service}", made[f"postgres_password_{service}"])
    rules = made["redis_users.acl"].splitlines()
    assert [rule.split()[1] for rule in rules] == ["default", "often_api", "often_worker", "often_scheduler"]
    assert "@" not in made["redis_users.acl"].replace("-@all", "").replace("+@all", "")
    assert f">{made['redis_password_worker']} " in rules[2]
