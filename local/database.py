"""Prepares the database before a service starts: creates and migrates it, and adds an administrator
account.
"""

import subprocess
import sys
from collections.abc import Mapping

from local import system
from local.errors import LaunchError
from local.programs import DATABASE, Plan
from local.system import Administrator


def bring_up_to_date(plan: Plan, administrator: Administrator) -> None:
    """Create and migrate the database, and add the administrator, unless that has been done before.

    Raises LaunchError with the output of the program that failed.
    """
    migration, api = plan.environment | plan.of_migration, plan.environment | plan.of_api
    if plan.postgres is not None:
        if not plan.postgres.has_database(DATABASE):
            plan.postgres.create_database(DATABASE)
        # In a folder that an earlier release created, the superuser owns the tables. This call
        # makes the owner role their owner.
        plan.postgres.make_roles(DATABASE, plan.postgres.role_passwords())
    _run(migration, "shared.migrate")
    password = {"ADMIN_PASSWORD": administrator.password}
    _run(api | password, "services.api.identity.administrator", "--email", administrator.email)
    if plan.postgres is not None:  # sample data is added only to an embedded database
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
        start_new_session=True,  # Ctrl-C is kept from the program, because a migration must run to its end
    )
    if ended.returncode:
        raise LaunchError(f"`python -m {' '.join(module)}` failed:\n{ended.stdout}{ended.stderr}")
