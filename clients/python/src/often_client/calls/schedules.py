"""API calls for schedules. docs/schedules.md describes the fields of a schedule."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from often_client.answers import Backfill, Fired, Firing, Page, Preview, Schedule
from often_client.choices import ScheduleKind
from often_client.exchange import Call, Steps, segment
from often_client.methods import Calls, listing, method


class ScheduleCalls(Calls):
    @listing
    def schedules(
        self, *, enabled: bool | None = None, task_name: str | None = None, page_size: int | None = None
    ) -> Call[Page[Schedule]]:
        """List schedules, sorted by name."""
        query = {"enabled": enabled, "task_name": task_name, "limit": page_size}
        return Call("GET", "schedules", Page[Schedule], query=query)

    @method
    def schedule(self, name: str, *, unmask: bool | None = None) -> Steps[Schedule]:
        """Return a schedule with its next times. With `unmask`, administrators see sensitive
        fields.
        """
        return self._ask(Call("GET", f"schedules/{segment(name)}", Schedule, query={"unmask": unmask}))

    @method
    def create_schedule(
        self,
        /,
        name: str,
        task_name: str,
        params: Mapping[str, Any],
        *,
        kind: ScheduleKind,
        expression: str,
        **options: Any,
    ) -> Steps[Schedule]:
        """Create a schedule that submits a task at each of its times.

        `expression` is "15 3 * * mon-fri" (cron), "6 h" (interval) or a time (once). `options` are other
        fields of a schedule, such as `time_zone` and `overlap`.
        """
        body = {
            "name": name,
            "task_name": task_name,
            "params": params,
            "kind": kind,
            "expression": expression,
        }
        return self._ask(Call("POST", "schedules", Schedule, body={**body, **options}))

    @method
    def change_schedule(self, name: str, /, **changes: Any) -> Steps[Schedule]:
        """Change the given fields of a schedule, and leave its other fields as they are."""
        return self._ask(Call("PATCH", f"schedules/{segment(name)}", Schedule, body=changes))

    @method
    def pause_schedule(self, name: str, *, reason: str | None = None) -> Steps[Schedule]:
        """Pause a schedule: it does not fire until it is resumed."""
        return self._ask(_enable(name, False, reason))

    @method
    def resume_schedule(self, name: str, *, reason: str | None = None) -> Steps[Schedule]:
        """End the pause of a schedule: it fires again."""
        return self._ask(_enable(name, True, reason))

    @method
    def delete_schedule(self, name: str) -> Steps[None]:
        """Delete a schedule that was created through the API."""
        return self._ask(Call("DELETE", f"schedules/{segment(name)}", type(None)))

    @method
    def fire_schedule(self, name: str) -> Steps[Fired]:
        """Fire a schedule once, now, in addition to its regular times."""
        return self._ask(Call("POST", f"schedules/{segment(name)}/fire", Fired))

    @method
    def backfill_schedule(
        self, name: str, start: datetime, end: datetime, *, dry_run: bool = False, reason: str | None = None
    ) -> Steps[Backfill]:
        """Submit the times of a schedule from `start` to `end` for which nothing was submitted.

        With `dry_run`, they are only listed.
        """
        body = {"from": start, "to": end, "dry_run": dry_run, "reason": reason}
        return self._ask(Call("POST", f"schedules/{segment(name)}/backfill", Backfill, body=body, wait_s=60))

    @listing
    def firings(self, name: str, *, page_size: int | None = None) -> Call[Page[Firing]]:
        """List the past times of a schedule with their outcomes, newest first."""
        path = f"schedules/{segment(name)}/firings"
        return Call("GET", path, Page[Firing], query={"limit": page_size})

    @method
    def preview_schedule(
        self, kind: ScheduleKind, expression: str, *, time_zone: str = "UTC", count: int = 10
    ) -> Steps[Preview]:
        """Calculate the next times that a schedule would have, without creating it."""
        body = {"kind": kind, "expression": expression, "time_zone": time_zone, "count": count}
        return self._ask(Call("POST", "schedules/preview", Preview, body=body))


def _enable(name: str, enabled: bool, reason: str | None) -> Call[Schedule]:
    why = {} if reason is None else {"reason": reason}
    return Call("PATCH", f"schedules/{segment(name)}", Schedule, body={"enabled": enabled, **why})
