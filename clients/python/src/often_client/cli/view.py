"""The interactive state of `often top`: filter text, selected task, open question. It
does no I/O.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple
from uuid import UUID

from often_client.cli.board import Failed, Running
from often_client.cli.keyboard import BACKSPACE, ENTER, ESCAPE

HELP = "q quit · p freeze · / filter · j k select · c cancel · r retry"


class Act(NamedTuple):
    """An act on a task (cancel or retry) that needs the user's confirmation."""

    verb: Literal["cancel", "retry"]
    task_id: UUID
    task_name: str


class Quit(NamedTuple):
    """Returned when the user has pressed the key to quit."""


@dataclass(slots=True)
class View:
    """What the user has chosen in `often top`. The method `press` changes it."""

    #: Filter: only tasks and queues whose names contain this text are shown.
    text: str = ""
    is_frozen: bool = False
    #: Whether pressed keys are appended to the filter text.
    is_typing: bool = False
    selected: UUID | None = None
    #: The act that the user is asked to confirm; None if no question is open.
    question: Act | None = None
    #: Result of the last act, as a message for the user.
    message: str = ""

    def shows(self, *names: str) -> bool:
        return any(self.text in name for name in names)

    def press(self, key: str, rows: Sequence[Running | Failed]) -> Act | Quit | None:
        """React to a pressed key. `rows` are the tasks that are shown, from top to bottom.

        Returns what the caller should do, if anything.
        """
        self.message = ""
        if self.question is not None:
            act, self.question = self.question, None
            return act if key == "y" else None
        if self.is_typing:
            self._type(key)
            return None
        return self._command(key, rows)

    def _command(self, key: str, rows: Sequence[Running | Failed]) -> Quit | None:
        match key:
            case "q":
                return Quit()
            case "p":
                self.is_frozen = not self.is_frozen
            case "/":
                self.is_typing, self.text = True, ""
            case "j" | "k":
                self._select(1 if key == "j" else -1, rows)
            case "c" | "r":
                self._ask(key, rows)
            case _ if key == ESCAPE:
                self.text, self.selected = "", None
        return None

    def _type(self, key: str) -> None:
        if key in (ENTER, ESCAPE):
            self.is_typing = False
            self.text = self.text if key == ENTER else ""
        elif key == BACKSPACE:
            self.text = self.text[:-1]
        elif key.isprintable():
            self.text += key

    def _select(self, step: int, rows: Sequence[Running | Failed]) -> None:
        ids = [row.task_id for row in rows]
        if self.selected in ids:
            self.selected = ids[(ids.index(self.selected) + step) % len(ids)]
        elif ids:
            self.selected = ids[0 if step > 0 else -1]

    def _ask(self, key: str, rows: Sequence[Running | Failed]) -> None:
        row = next((row for row in rows if row.task_id == self.selected), None)
        match key, row:
            case "c", Running():
                self.question = Act("cancel", row.task_id, row.task_name)
            case "r", Failed():
                self.question = Act("retry", row.task_id, row.task_name)
            case "c", _:
                self.message = "Select a running task with j and k first."
            case _:
                self.message = "Select a failed task with j and k first."
