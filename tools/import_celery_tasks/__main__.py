"""Imports the Celery system's tasks: finished ones as history, waiting ones as new submissions.

docs/migrating_from_celery.md says when to run it and how each row is handled.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TextIO

import asyncpg

from often_client import ApiAway, ApiError, Client
from shared import settings
from shared.errors import SettingsError
from tools.import_celery_tasks import old_rows, pending
from tools.import_celery_tasks.history import History
from tools.import_celery_tasks.old_rows import OldTask, Unreadable

#: Number of rows that the import writes per INSERT.
BATCH = 500
MAX_KEEP_DAYS = 90
#: Maximum number of rows that the report lists one by one. Its counts include all rows.
MAX_NAMED = 50

COPY = "SELECT * FROM tasks ORDER BY created_at"


class Fate(StrEnum):
    """What the import did with an old row, or would do with `--apply`."""

    IMPORTED = "imported as history"
    PRESENT = "in the ledger already"
    SUBMITTED = "submitted"
    TOO_OLD = "older than --keep-days, left out"
    RUNNING = "still marked as started, left out"
    UNMAPPED = "waiting, but without --api or a rule in --mapping, left out"
    REFUSED = "waiting, but refused by the API or its rule"
    UNREADABLE = "unreadable"


#: Fates that make the import incomplete. If a row has one of them, the exit status is 1.
INCOMPLETE = frozenset({Fate.RUNNING, Fate.UNMAPPED, Fate.REFUSED, Fate.UNREADABLE})


class Import:
    """One run of the import, over all rows."""

    def __init__(self, history: History, rules: pending.Rules, api: Client | None, *, apply: bool) -> None:
        self._history = history
        self._rules = rules
        self._api = api
        self._apply = apply
        self._finished: list[OldTask] = []
        self.fates: Counter[Fate] = Counter()
        self.named: list[str] = []

    async def run(self, lines: TextIO) -> None:
        await self._history.load_partitions()
        for row in old_rows.read(lines):
            if isinstance(row, Unreadable):
                self._note(Fate.UNREADABLE, str(row))
            elif self._history.is_too_old(row):
                self._note(Fate.TOO_OLD)
            elif row.status in old_rows.FINAL:
                self._finished.append(row)
                if len(self._finished) == BATCH:
                    await self._store()
            elif row.status in old_rows.RUNNING:
                self._note(Fate.RUNNING, row.task_id)
            else:
                await self._continue(row)
        await self._store()

    async def _store(self) -> None:
        batch, self._finished = self._finished, []
        if batch:
            stored = await self._history.store(batch)
            self.fates[Fate.IMPORTED] += stored
            self.fates[Fate.PRESENT] += len(batch) - stored

    async def _continue(self, task: OldTask) -> None:
        """Submit a task that still waits in the old system to the new one, at most once."""
        rule = self._rules.get(task.function)
        if await self._history.present([task]):
            self._note(Fate.PRESENT)
        elif rule is None or self._api is None:
            self._note(Fate.UNMAPPED, f"{task.task_id} ({task.task_name})")
        else:
            await self._submit(self._api, task, rule)

    async def _submit(self, api: Client, task: OldTask, rule: pending.Rule) -> None:
        try:
            if self._apply:
                new_id = await asyncio.to_thread(pending.submit, api, task, rule)
                await self._history.close(task, new_id)
            else:
                pending.params(task, rule)
        except (pending.Unfit, ApiError) as error:
            self._note(Fate.REFUSED, f"{task.task_id} ({task.task_name}): {error}")
        else:
            self._note(Fate.SUBMITTED)

    def _note(self, fate: Fate, named: str | None = None) -> None:
        self.fates[fate] += 1
        if named is not None and len(self.named) < MAX_NAMED:
            self.named.append(f"{fate}: {named}")

    def report(self) -> str:
        """The text of the import's report: one line for each row that needs attention, then the
        counts.
        """
        head = "" if self._apply else "Nothing was changed; run it with --apply to do this:\n"
        counts = "".join(f"{self.fates[fate]:>9,}  {fate}\n" for fate in Fate)
        return "".join(f"{line}\n" for line in self.named) + head + counts


def main() -> None:
    options = _options()
    try:
        ledger_url = settings.read(os.environ, needs=("database_url",)).database_url
        rules = pending.read_mapping(options.mapping) if options.mapping else {}
        done = asyncio.run(_run(options, ledger_url, rules))
    except (SettingsError, ValueError) as error:
        _leave(2, str(error))
    except ApiAway as error:
        _leave(1, f"{error}; run it again once the API is back")
    except (OSError, asyncpg.PostgresError) as error:
        _leave(1, f"{type(error).__name__}: {error}; run it again, it continues where it stopped")
    sys.stdout.write(done.report())
    sys.exit(1 if any(done.fates[fate] for fate in INCOMPLETE) else 0)


async def _run(options: argparse.Namespace, ledger_url: str, rules: pending.Rules) -> Import:
    ledger = await asyncpg.connect(ledger_url)
    api = Client(options.api, os.environ.get("API_KEY")) if options.api else None
    history = History(
        ledger, keep_days=options.keep_days, keep_owners=options.keep_owners, apply=options.apply
    )
    done = Import(history, rules, api, apply=options.apply)
    try:
        with _opened(options.csv) as lines:
            if options.csv is None:
                await _copy(os.environ.get("CELERY_DATABASE_URL", ""), lines)
            await done.run(lines)
    finally:
        await ledger.close()
    return done


@contextmanager
def _opened(path: Path | None) -> Iterator[TextIO]:
    """Open the given file. If none is given, open an empty temporary one."""
    if path is not None:
        with path.open(newline="") as given:
            yield given
    else:
        with tempfile.TemporaryFile("w+", newline="") as temporary:
            yield temporary


async def _copy(url: str, lines: TextIO) -> None:
    """Copy the old table to the file. Raises ValueError if no database address is given."""
    if not url:
        raise ValueError("give --csv, or set CELERY_DATABASE_URL to the address of the old database")
    form = {"datestyle": "ISO", "timezone": "UTC", "client_encoding": "utf8"}
    old = await asyncpg.connect(url, server_settings=form)
    try:
        await old.copy_from_query(COPY, output=lines.buffer, format="csv", header=True)
    finally:
        await old.close()
    lines.seek(0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.import_celery_tasks",
        description="Import the Celery system's tasks. DATABASE_URL is the ledger; the rows come from --csv, "
        "or from CELERY_DATABASE_URL. Without --apply nothing is changed.",
    )
    parser.add_argument("--csv", type=Path, help="rows of the old table, from COPY … (FORMAT csv, HEADER)")
    parser.add_argument(
        "--mapping",
        type=Path,
        help="JSON file with a rule for each old function: how its waiting tasks are submitted",
    )
    parser.add_argument("--api", help="address of the API; set API_KEY to an administrator's key")
    parser.add_argument(
        "--keep-days", type=_days, default=30, help="leave out rows that are older (default 30)"
    )
    parser.add_argument(
        "--keep-owners",
        action="store_true",
        help="keep old user ids as owners, as they are also the new account ids",
    )
    parser.add_argument(
        "--apply", action="store_true", help="carry out the import; without it, only report what it would do"
    )
    return parser.parse_args()


def _days(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= MAX_KEEP_DAYS):
        raise argparse.ArgumentTypeError(
            f"must be a whole number from 1 to {MAX_KEEP_DAYS}, because each day is a partition"
        )
    return int(text)


def _leave(status: int, message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.exit(status)


if __name__ == "__main__":
    main()
