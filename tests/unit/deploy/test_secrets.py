"""Tests that each container gets the secrets of its service, and no others."""

import json
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
#: Containers of the project's own services by name, without the one that runs migrations.
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
    users = ["default", "often_api", "often_worker", "often_scheduler", "often_monitor"]
    assert [rule.split()[1] for rule in rules] == users
    assert "@" not in made["redis_users.acl"].replace("-@all", "").replace("+@all", "")
    assert f">{made['redis_password_worker']} " in rules[2]
    (read,) = json.loads(made["redis_exporter_passwords"]).values()
    assert read == made["redis_password_monitor"]


def test_the_address_for_alerts_of_an_earlier_release_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "alert_webhook_url").write_text("https://pager.example/hook")
    subprocess.run([ROOT / "deploy/make_secrets.sh", tmp_path], check=True)
    for name in ("alert_page_url", "alert_ticket_url"):
        assert (tmp_path / name).read_text() == "https://pager.example/hook"


def test_users_of_redis_of_an_earlier_release_get_its_rules_and_keep_their_passwords(tmp_path: Path) -> None:
    subprocess.run([ROOT / "deploy/make_secrets.sh", tmp_path], check=True)
    users = tmp_path / "redis_users.acl"
    up_to_date = users.read_text()
    mine = "user mine on >password ~mine:* +get\n"
    of_before = [rule for rule in up_to_date.splitlines() if "often_monitor" not in rule]
    users.chmod(0o644)
    users.write_text("\n".join(of_before).replace(" +publish", "") + "\n" + mine)
    # A running container has mounted this very file (its inode). So the script must change the
    # file, and not replace it.
    mounted = users.stat().st_ino

    subprocess.run([ROOT / "deploy/make_secrets.sh", tmp_path], check=True)

    assert users.read_text() == up_to_date + mine
    assert (users.stat().st_ino, users.stat().st_mode & 0o777) == (mounted, 0o444)
    written_at = users.stat().st_mtime_ns
    subprocess.run([ROOT / "deploy/make_secrets.sh", tmp_path], check=True)
    assert users.stat().st_mtime_ns == written_at
