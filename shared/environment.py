"""Reads settings classes from environment variables. `shared.settings` defines the platform's
settings.

A settings class is a frozen dataclass whose fields are made by `setting`. It may define
`broken_rules`, which yields the names of fields and the rules that their values break.
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from shared.errors import SettingsError

S = TypeVar("S")

#: Suffix of an environment variable that names a file which contains the value of a setting.
#: Container platforms provide secrets in this way.
IN_FILE = "_FILE"
#: Every environment variable with this prefix is meant as a setting of the platform or an
#: application.
PREFIX = "OFTEN_"
#: Upper bounds of settings: ten years for times in seconds, and Postgres' largest integer for other
#: numbers.
MAX_SECONDS = 3_650 * 86_400
MAX_NUMBER = 2**31 - 1

#: Matches the names of environment variables that Kubernetes sets for each service of a namespace.
_LINK_NAME = re.compile(
    r".+_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|.+_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?"
)
_LINK = re.compile("(tcp|udp|sctp)://")
#: Matches characters that no setting may contain: control characters, and bytes that are not UTF-8,
#: which Python represents as lone surrogates.
_NOT_IN_TEXT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
#: Maximum number of characters of an invalid value that an error message quotes.
MAX_SHOWN = 40


def setting(variable: str, default: Any, rule: str = "", *, secret_of: Sequence[str] = ()) -> Any:
    """Define a field of a settings class that is read from the environment variable `variable`.

    `rule` describes a valid value of a required field. `secret_of` lists the services that need a
    secret: api, worker, scheduler. Other services must not get it.
    """
    metadata = {"variable": variable, "rule": rule, "secret_of": tuple(secret_of)}
    return field(default=default, metadata=metadata)


def known_fields(kind: type[Any]) -> dict[str, Field[Any]]:
    """The fields of a settings class, by the names of their environment variables."""
    return {f.metadata["variable"]: f for f in fields(kind) if "variable" in f.metadata}


def secrets(kind: type[Any]) -> dict[str, Sequence[str]]:
    """The services that need each secret, by the name of the secret's environment variable."""
    return {
        variable: f.metadata["secret_of"]
        for variable, f in known_fields(kind).items()
        if f.metadata["secret_of"]
    }


def ignored(environ: Mapping[str, str], kinds: Iterable[type[Any]]) -> str:
    """Describe environment variables that look like settings but are ignored, with the reasons.

    Returns one line, which is empty if there are none. Such variables do not stop a process,
    because an older release may run with the settings of a newer one.
    """
    known = {variable for kind in kinds for variable in known_fields(kind)}
    names = sorted([*known, *(f"{variable}{IN_FILE}" for variable in known)])
    links = [name for name in sorted(environ) if _is_ours(name, known) and _is_link(name, environ[name])]
    others = environ.keys() - {*names, *links}
    said = [text for name in sorted(others) if (text := _unknown(name, names))]
    if links:
        said.append(f"{', '.join(links)}: service links of Kubernetes (set enableServiceLinks: false)")
    return f"ignored in the environment: {'; '.join(said)}" if said else ""


def _is_ours(name: str, known: Iterable[str]) -> bool:
    return name.startswith(PREFIX) or name in known


def _is_link(name: str, value: str) -> bool:
    """True if Kubernetes has set this variable for a service.

    Such a variable can have the name of a setting if the name of the service resembles it.
    """
    return bool(_LINK_NAME.fullmatch(name) or (name.endswith("_PORT") and _LINK.match(value)))


def _unknown(name: str, known: Sequence[str]) -> str | None:
    """Describe the problem with a variable that is probably meant as a setting, but is not one.

    None for any other variable.
    """
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    if not name.startswith(PREFIX) and (not close or sorted(name) != sorted(close[0])):
        return None
    return f"{name} is not a setting" + (f": did you mean {close[0]}?" if close else " of this release")


def read(kind: type[S], environ: Mapping[str, str], needs: Iterable[str] = (), **given: Any) -> S:
    """Read the settings of one class from the environment.

    `needs` names the fields that this process requires. Fields in `given` are set to these values
    instead of being read. Raises SettingsError for the first broken rule. Its message names the
    variable and the rule.
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
    """The value of the variable, or the content of the file that `<variable>_FILE` names.

    Empty if neither is set.
    """
    text, path = environ.get(variable, ""), environ.get(f"{variable}{IN_FILE}")
    if _is_link(variable, text):
        text = ""
    if path and text:
        raise SettingsError(f"{variable} and {variable}{IN_FILE} are both set: leave one of them out")
    text = _content(variable, path) if path else text
    if _NOT_IN_TEXT.search(text):
        where = f"the file that {variable}{IN_FILE} names" if path else "it"
        raise SettingsError(f"{variable} must be one line of UTF-8 text, but {where} has other characters")
    return text


def _content(variable: str, path: str) -> str:
    try:
        # A byte-order mark and a final line break are removed. Editors and `echo` write them, but
        # they are not part of a secret.
        return Path(path).read_text("utf-8-sig").rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{variable}{IN_FILE} names {path!r}, which cannot be read ({error}); "
            f"make it a text file that this account may read, or set {variable}"
        ) from None


def _parse(variable: str, text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    in_seconds = isinstance(default, timedelta)
    try:
        number = float(text) if in_seconds else int(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        kind = "a number of seconds" if in_seconds else "a whole number"
        raise SettingsError(f"{variable} must be {kind}, not {text[:MAX_SHOWN]!r}")
    if number < 0:
        raise SettingsError(f"{variable} must not be negative, but is {text[:MAX_SHOWN]}")
    highest = MAX_SECONDS if in_seconds else MAX_NUMBER
    if number > highest:
        raise SettingsError(f"{variable} must be at most {highest}, but is {text[:MAX_SHOWN]}")
    return timedelta(seconds=number) if in_seconds else number
