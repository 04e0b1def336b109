"""Appends the structured fields of a log line to its text, for the log format `text`. In the format
`json`, each field is a key of its own.
"""

import logging

#: Attributes that every log record has. All other attributes are structured fields, except
#: `color_message`, a colored copy of the message that uvicorn adds.
_RESERVED = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message"}


class WithFields(logging.Formatter):
    """A log formatter that appends the structured fields to the first line of the text, as in `a
    task failed task_id=… queue=email`.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        text, newline, rest = super().formatMessage(record).partition("\n")
        fields = [f" {name}={value}" for name, value in vars(record).items() if name not in _RESERVED]
        return f"{text}{''.join(fields)}{newline}{rest}"
