"""Brings the database up to date before a service sees it: created, migrated, with an administrator in it."""

import subprocess
import sys
from collections.abc import Mapping

from local import system
from local.errors import LaunchError
from local.programs import DATABASE, Plan
from local.system import Administrator


def bring_up_to_date(plan: Plan, administrator: Administrator) -> None:
    """Change nothing that is there already. Raises LaunchError with the failed program's own words."""
    migration, api = plan.environment | plan.of_migration, plan.environment | plan.of_api
    if plan.postgres is not None:
        if not plan.postgres.has_database(DATABASE):
            plan.postgres.create_database(DATABASE)
        # A folder of an earlier release has tables of the superuser, which change their owner here.
        plan.postgres.make_roles(DATABASE, plan.postgres.role_passwords())
    _run(migration, "shared.migrate")
    password = {"ADMIN_PASSWORD": administrator.password}
    _run(api | password, "services.api.identity.administrator", "--email", administrator.email)
    if plan.postgres is not None:  # somebody else's database is not for samples
        _run(migration, "local.samples")


def _run(environment: Mapping[str, str], *module: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", *module],
        cwd=system.ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # Ctrl-C is the launcher's to handle; a migration runs to its end
    )
    if ended.returncode:
        raise LaunchError(f"`python -m {' '.join(module)}` failed:\n{ended.stdout}{ended.stderr}")
