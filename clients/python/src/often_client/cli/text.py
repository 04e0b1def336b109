"""Makes text from outside safe to print on a terminal.

A task's name or error may contain escape sequences, which move the cursor or recolor the screen,
and characters that reverse the direction of text. They are printed as visible escapes, so they have
no effect.
"""

import re

#: Characters that are replaced: control characters (C0, DEL, C1), line separators, direction marks
#: and overrides, lone surrogates.
_HARMFUL = (
    r"\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufff9-\ufffb"
)
_CHARACTERS = re.compile(f"[{_HARMFUL}]")
_WITHIN_LINES = re.compile(f"(?![\n\t])[{_HARMFUL}]")
#: The characters to replace in encoded JSON, where they occur only inside strings. msgspec has
#: already escaped the control characters below 32.
_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]")
#: Maximum length of the text in a table cell, in characters.
MAX_CELL = 500


def plain(value: object, *, keep_lines: bool = False) -> str:
    """Replace each harmful character of a text by its escape, such as `\\x1b`."""
    pattern = _WITHIN_LINES if keep_lines else _CHARACTERS
    return pattern.sub(_escape, str(value))


def cell(value: object) -> str:
    """Replace harmful characters like `plain`, and shorten the text to the length of a
    table cell.
    """
    text = str(value)
    return plain(text if len(text) <= MAX_CELL else f"{text[:MAX_CELL]}…")


def json_line(encoded: bytes) -> str:
    """Convert encoded JSON to text, with harmful characters replaced by equivalent JSON escapes."""
    return _IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", encoded.decode())


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    known = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
    number = ord(character)
    return known.get(character) or (f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")
