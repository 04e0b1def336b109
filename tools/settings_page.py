"""Writes docs/settings.md from the settings classes: `python -m tools.settings_page`.

The page lists each field with its variable, default, rule and the `#:` comment above it.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from shared.hotel.settings import HotelSettings
from shared.settings import Settings

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
WIDTH = 100

#: The settings classes, by the heading under which the page lists their fields. They are in the
#: page's order.
CLASSES: dict[str, type] = {"The platform": Settings, "The hotel application": HotelSettings}

HEAD = """\
<!-- Written by `python -m tools.settings_page` from the settings classes: do not edit it. -->

# Settings

After this page you can look up every setting of the processes, with its default and its rule.

Each process reads its settings once, at its start, from environment variables. A wrong setting
stops the process with a line that names the variable and the rule.

- **Durations** are numbers of seconds.
- **Text** is one line of UTF-8.
- **Files.** `<VARIABLE>_FILE` names a file that holds the setting, as container secrets do. If both
  the variable and the file are set, the process stops.
- **Unknown names** that begin with `OFTEN_` change nothing, so that a newer setting does not stop
  an older release. The process logs one warning that lists them with the nearest known name. Service
  links of Kubernetes, such as `OFTEN_API_PORT=tcp://10.0.0.7:8000`, are ignored and listed too.
- **Secrets** belong to the services that are named with them. Give them to no other.
- **Required** are `DATABASE_URL` and `REDIS_URL` for every process, `SECRET_KEY` for the API, and
  `OFTEN_VAULT_KEYS` as soon as a task has sensitive fields.
"""


def page(classes: dict[str, type]) -> str:
    """The text of the whole page `docs/settings.md`."""
    return "\n".join([HEAD, *(_section(heading, cls) for heading, cls in classes.items())])


def _section(heading: str, cls: type) -> str:
    texts = comments(inspect.getsource(cls))
    listed = [field for field in fields(cls) if "variable" in field.metadata]
    items = [_item(field, texts.get(field.name, "")) for field in listed]
    return "\n".join([f"## {heading}", "", *items, ""])


def comments(source: str) -> dict[str, str]:
    """Returns the `#:` comment above each field of the class, as one line, by the field's name."""
    lines = textwrap.dedent(source).splitlines()
    (body,) = [node.body for node in ast.parse("\n".join(lines)).body if isinstance(node, ast.ClassDef)]
    return {
        node.target.id: " ".join(reversed(list(_above(lines, node.lineno))))
        for node in body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def _above(lines: list[str], number: int) -> Iterator[str]:
    """Yield the comment lines directly above the line with this number, the nearest first."""
    for line in reversed(lines[: number - 1]):
        if not line.strip().startswith("#:"):
            return
        yield line.strip().removeprefix("#:").strip()


def _item(field: Field[Any], comment: str) -> str:
    head = f"- `{field.metadata['variable']}` ({_default(field)})."
    rule, services = field.metadata.get("rule", ""), ", ".join(field.metadata.get("secret_of", ()))
    parts = [head, rule and f"Format: {rule}.", comment, services and f"A secret of: {services}."]
    return textwrap.fill(
        " ".join(part for part in parts if part),
        WIDTH,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _default(field: Field[Any]) -> str:
    match field.default:
        case timedelta() as duration:
            return f"default: {str(duration.total_seconds()).removesuffix('.0')} seconds"
        case "" | None:
            return "no default"
        case value if value is MISSING:
            return "no default"
        case value:
            return f"default: `{value}`"


if __name__ == "__main__":
    PAGE.write_text(page(CLASSES))
