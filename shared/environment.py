"""Reads classes of settings from environment variables; `shared.settings` says which ones there are.

A class of settings is a frozen dataclass whose fields are made by `setting`. It may define `broken_rules`,
which yields the name of a field and the rule that its value breaks.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import Field, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from shared.errors import SettingsError

S = TypeVar("S")

#: `<VARIABLE>_FILE` names a file that holds the setting, as the secrets of containers do.
IN_FILE = "_FILE"


def setting(variable: str, default: Any, rule: str = "") -> Any:
    """A field that is read from `variable`; `rule` says what a required one looks like."""
    return field(default=default, metadata={"variable": variable, "rule": rule})


def known_fields(kind: type[Any]) -> dict[str, Field[Any]]:
    """The fields of a class of settings, by environment variable."""
    return {f.metadata["variable"]: f for f in fields(kind) if "variable" in f.metadata}


def refuse_misspelt(environ: Mapping[str, str], kinds: Iterable[type[Any]]) -> None:
    """Raises SettingsError for a variable that is probably meant as a setting, and is none."""
    known = {variable for kind in kinds for variable in known_fields(kind)}
    names = [*known, *(f"{variable}{IN_FILE}" for variable in known)]
    for variable in environ.keys() - set(names):
        close = difflib.get_close_matches(variable, names, n=1, cutoff=0.85)
        transposed = bool(close) and sorted(variable) == sorted(close[0])
        if variable.startswith("OFTEN_") or transposed:
            hint = f": did you mean {close[0]}?" if close else f"; known: {', '.join(sorted(known))}"
            raise SettingsError(f"{variable} is not a setting{hint}")


def read(kind: type[S], environ: Mapping[str, str], needs: Iterable[str] = (), **given: Any) -> S:
    """One class of settings; `needs` names the fields that this process cannot do without.

    Fields that are `given` are not read.
    Raises SettingsError, naming variable and rule, for the first broken rule.
    """
    known = known_fields(kind)
    texts = {v: text for v in known if (text := _value(environ, v))}
    values = {f.name: _parse(v, texts[v], f.default) for v, f in known.items() if v in texts}
    made = kind(**values | given)
    by_name = {f.name: f for f in known.values()}
    for name in needs:
        if not getattr(made, name):
            field_ = by_name[name].metadata
            raise SettingsError(f"{field_['variable']} is missing; write {field_['rule']}")
    for name, rule in getattr(made, "broken_rules", tuple)():
        raise SettingsError(f"{by_name[name].metadata['variable']} {rule}")
    return made


def _value(environ: Mapping[str, str], variable: str) -> str:
    """What the variable, or the file that `<variable>_FILE` names, holds; empty when there is neither."""
    text, path = environ.get(variable, ""), environ.get(f"{variable}{IN_FILE}")
    if not path:
        return text
    if text:
        raise SettingsError(f"{variable} and {variable}{IN_FILE} are both set: leave one of them out")
    try:
        return Path(path).read_text().rstrip("\r\n")  # editors and `echo` end a file with a line break
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{variable}{IN_FILE} names {path}, which cannot be read ({error}); "
            f"make it a text file that this account may read, or set {variable}"
        ) from None


def _parse(variable: str, text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    try:
        number = float(text) if isinstance(default, timedelta) else int(text)
    except ValueError:
        kind = "a number of seconds" if isinstance(default, timedelta) else "a whole number"
        raise SettingsError(f"{variable} must be {kind}, not {text!r}") from None
    if number < 0:
        raise SettingsError(f"{variable} must not be negative, but is {text}")
    return timedelta(seconds=number) if isinstance(default, timedelta) else number
