"""The command that runs the body of a past task on this machine, with the platform's module
`local.reproduce`.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import rich_click as click

from often_client.cli.access import Access
from often_client.cli.options import Id, Pair, end, nested, pass_access

PROGRAM, HERE = "local.reproduce", "local/reproduce.py"
#: Texts that the API returns in place of sensitive values.
MASKS = frozenset({"[hidden]", "[unreadable]"})


@click.command()
@click.argument("id", type=Id())
@click.option(
    "--param", "pairs", type=Pair(), multiple=True, help="Change one parameter, for example user_id=7."
)
@click.option("--pdb", is_flag=True, help="Open the debugger when the body fails.")
@click.option(
    "--real", is_flag=True, help="Call the real outside services, with the settings of the environment."
)
@click.option("--unmask", is_flag=True, help="Read sensitive parameters. For administrators; it is audited.")
@pass_access
def reproduce(
    access: Access, id: UUID, pairs: tuple[tuple[str, Any], ...], pdb: bool, real: bool, unmask: bool
) -> None:
    """Run the body of a past task on this machine.

    Run the command in a checkout of the platform. The task itself does not change: nothing is submitted
    or recorded. The sandbox of `make run` takes the place of outside services, unless you add `--real`.
    The exit code is 1 if the body fails.
    """
    if not Path(HERE).exists():
        raise click.UsageError(f"There is no {HERE}. Run it in a checkout: .venv/bin/often reproduce ID")
    task = access.client.task(id, unmask=True if unmask else None)
    params = task.params | nested(pairs)
    if found := sorted(masked(params)):
        raise click.UsageError(
            f"Masked: {', '.join(found)}. Give values with --param, or add --unmask as an administrator."
        )
    description = {"name": task.task_name, "params": params, "owner": task.owner}
    options = [f"--{name}" for name, is_set in (("pdb", pdb), ("real", real)) if is_set]
    with tempfile.TemporaryDirectory(prefix="often-") as folder:
        # The task is passed in a file that only its owner can read, because the arguments of a
        # process are visible to all users.
        file = Path(folder) / "task.json"
        file.write_bytes(msgspec.json.encode(description))
        ended = subprocess.run([sys.executable, "-m", PROGRAM, str(file), *options], check=False)
    end(ended.returncode)


def masked(value: Any, where: str = "params") -> set[str]:
    """Paths of the values in `value` that the API has masked."""
    match value:
        case dict():
            return set().union(*(masked(inner, f"{where}.{name}") for name, inner in value.items()))
        case list():
            return set().union(*(masked(inner, f"{where}[{index}]") for index, inner in enumerate(value)))
        case _:
            return {where} if isinstance(value, str) and value in MASKS else set()
