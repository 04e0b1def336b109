"""Exports the tasks that a filter of the console's task list finds.

Access rights, masking of sensitive fields and the time limit for each page are the same as in the
list.
"""

import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, Final

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.response import Stream

from services.api.console import addresses, task_filter
from services.api.console.task_files import CSV, JSON_LINES, Format
from services.api.http.export_streams import ExportStreams
from services.api.identity.rights import Reader
from services.api.reads import ReadTooSlow
from services.api.tasks.ledger_view import LedgerView
from shared.errors import InvalidFields
from shared.ledger.task_filter import TaskFilter

#: Maximum number of tasks in one export. The last line of a cut-off export contains the address of
#: the rest.
MAX_TASKS: Final = 10_000
#: Number of tasks that are read into memory at once, as in a list. One task may have 256 KiB of
#: parameters and 1 MiB of result.
PAGE: Final = 100
#: Maximum duration of an export in seconds. A filter that matches few tasks can take longer to
#: search.
MAX_S: Final = 30.0
#: Maximum number of simultaneous exports in one process. They share the four connections for slow
#: reads.
MAX_EXPORTS: Final = 2


@get("/tasks.csv")
async def export_csv(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    task_exports: NamedDependency[ExportStreams],
) -> Stream:
    return await _export(request, reader, ledger, task_exports, CSV)


@get("/tasks.jsonl")
async def export_json_lines(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerView],
    task_exports: NamedDependency[ExportStreams],
) -> Stream:
    return await _export(request, reader, ledger, task_exports, JSON_LINES)


async def _export(
    request: Request[Any, Any, Any],
    reader: Reader,
    ledger: LedgerView,
    task_exports: ExportStreams,
    written: Format,
) -> Stream:
    """Stream an export in the given format. Raises InvalidFields, TooManyExports or ReadTooSlow."""
    given = list(request.query_params.multi_items())
    asked = task_filter.read(given, ledger.now())
    if asked.problems:
        raise InvalidFields(list(asked.problems))

    def rest(cursor: str) -> str:
        return addresses.changed(f"{request.base_url}console/tasks.{written.suffix}", given, cursor=cursor)

    pieces = _pieces(ledger, reader, asked.wanted, dict(given).get("cursor"), written, rest)
    return Stream(
        await task_exports.begin(pieces, limit=MAX_EXPORTS),
        media_type=written.media_type,
        headers={"Content-Disposition": f'attachment; filename="{_name(ledger.now(), written)}"'},
    )


async def _pieces(
    ledger: LedgerView,
    reader: Reader,
    wanted: TaskFilter,
    cursor: str | None,
    written: Format,
    rest: Callable[[str], str],
) -> AsyncIterator[bytes]:
    """Yield the head of the file with the first page of tasks, then the other pages, then a line
    that says why the export is incomplete, if it is.
    """
    ends_at, left = time.monotonic() + MAX_S, MAX_TASKS
    page = await ledger.page(reader, wanted, limit=min(PAGE, left), cursor=cursor)
    yield written.head + written.tasks(page.items)
    while page.next_cursor is not None:
        cursor, left = page.next_cursor, left - len(page.items)
        if not left:
            yield written.cut(f"an export has {MAX_TASKS:,} tasks at most", rest(cursor))
            return
        if time.monotonic() >= ends_at:
            yield written.cut(f"the search took longer than {MAX_S:g} s", rest(cursor))
            return
        try:
            page = await ledger.page(reader, wanted, limit=min(PAGE, left), cursor=cursor)
        except ReadTooSlow:
            # Part of the export has been sent, so this cannot be answered with a problem document.
            yield written.cut("the next tasks could not be read in time", rest(cursor))
            return
        yield written.tasks(page.items)


def _name(now: datetime, written: Format) -> str:
    return f"tasks-{now:%Y-%m-%dT%H%M%SZ}.{written.suffix}"
