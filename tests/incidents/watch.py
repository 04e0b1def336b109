"""Compares the notifications that Alertmanager sends during an incident with the expected ones."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.eventually import eventually
from tests.incidents.incident import Incident
from tests.incidents.system import System

HEAD = (
    "| incident | alert | notified, s | resolved after the cure, s | messages | others | remark | verdict |\n"
    + ("|---|---|---|---|---|---|---|---|")
)
#: Seconds after an incident for which late notifications are still collected.
AFTER_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Heard:
    """The notifications that were received during one incident."""

    incident: Incident
    notified_s: float | None
    resolved_s: float | None
    #: Number of received notifications that the expected alert is firing.
    messages: int
    others: list[str]
    remark: str
    #: Message of the incident's own check, if it failed. Empty if it passed.
    failed: str
    #: True if the alert was resolved before the incident had ended.
    too_early: bool

    @property
    def broken(self) -> list[str]:
        signs = {
            "others": bool(self.others),
            "silent": self.incident.alert is not None and self.notified_s is None,
            "not resolved": self.incident.alert is not None and self.resolved_s is None,
            "resolved too early": self.too_early,
            "repeated": self.messages > 1,
            self.failed: bool(self.failed),
        }
        return [name for name, is_broken in signs.items() if is_broken]

    def row(self) -> str:
        cells = (
            self.incident.title,
            (self.incident.alert or "none").removeprefix("Often"),
            _seconds(self.notified_s),
            _seconds(self.resolved_s),
            self.messages,
            ", ".join(self.others) or "-",
            self.remark or "-",
            f"BROKEN: {', '.join(self.broken)}" if self.broken else "right",
        )
        return f"| {' | '.join(map(str, cells))} |"


async def play(incident: Incident, system: System) -> Heard:
    """Cause the incident, wait for its notification, end the incident, and wait until the alert is
    resolved.
    """
    ear = Ear(incident, system)
    async with incident.cause(system):
        if incident.alert is None:
            await asyncio.sleep(incident.within_s)
            notified = None
        else:
            notified = await ear.until("firing", incident.within_s)
        remark, failed = await _checked(incident, system)
        too_early = bool(ear.messages("resolved"))
    resolved = await ear.until("resolved", incident.resolved_s) if incident.alert else None
    await asyncio.sleep(AFTER_S)
    return Heard(
        incident=incident,
        notified_s=notified,
        resolved_s=resolved,
        messages=len(ear.messages("firing")),
        others=sorted(ear.others()),
        remark=remark,
        failed=failed,
        too_early=too_early,
    )


async def _checked(incident: Incident, system: System) -> tuple[str, str]:
    """Run the incident's own check. Returns its remark, and its message if it has failed. Each is
    empty if there is none.
    """
    if incident.check is None:
        return "", ""
    try:
        return await incident.check(system), ""
    except AssertionError as error:
        return "", str(error)


class Ear:
    """Collects the notifications of Alertmanager from now on."""

    def __init__(self, incident: Incident, system: System) -> None:
        self._incident = incident
        self._received = system.prometheus.webhook.received
        self._from = len(self._received)
        self._began = datetime.now(UTC)

    async def until(self, status: str, limit_s: float) -> float | None:
        """Wait for a notification that the expected alert has this status ("firing" or "resolved").
        Returns after how many seconds it arrived, or None if it does not arrive in time.
        """
        began = time.monotonic()
        try:
            await eventually(lambda: _awaitable(self.messages(status)), limit_s)
        except AssertionError:
            return None
        return time.monotonic() - began

    def messages(self, status: str) -> list[dict[str, Any]]:
        return [
            message
            for message in self._received[self._from :]
            if any(self._is_it(alert) and alert["status"] == status for alert in message["alerts"])
        ]

    def others(self) -> set[str]:
        """Names of the alerts that fired in addition to the expected one. Alerts that began before
        the incident are left out.
        """
        messages = [m for m in self._received[self._from :] if m["receiver"] != "watchdog"]
        alerts = [alert for message in messages for alert in message["alerts"]]
        new = [alert for alert in alerts if datetime.fromisoformat(alert["startsAt"]) >= self._began]
        return {alert["labels"]["alertname"] for alert in new if not self._is_it(alert)}

    def _is_it(self, alert: dict[str, Any]) -> bool:
        expected = {"alertname": self._incident.alert, **self._incident.labels}
        return bool(expected.items() <= alert["labels"].items())


async def _awaitable(found: list[dict[str, Any]]) -> bool:
    return bool(found)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
