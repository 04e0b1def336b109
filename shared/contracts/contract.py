"""What a task is called, where it runs, what it takes and returns, and how it retries.

The work itself is a function in `services/worker/tasks`; API and scheduler know contracts only.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

import msgspec

from shared.contracts import broken_rules
from shared.contracts.schedule import Schedule
from shared.contracts.sensitivity import sensitive_fields
from shared.errors import FieldProblem, InvalidFields

P = TypeVar("P", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)

#: Lowest, default and highest priority; the highest is served first.
LOWEST_PRIORITY, DEFAULT_PRIORITY, HIGHEST_PRIORITY = 0, 5, 9

#: Larger parameters belong into a table or a file, with their id as the parameter.
MAX_PARAMS_BYTES = 256 * 1024
MAX_RESULT_BYTES = 1024 * 1024

_NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_QUEUE = re.compile(r"[a-z][a-z0-9_]*")


class Params(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base of every task's parameters: unknown fields are refused."""


class Result(msgspec.Struct, kw_only=True):
    """Base of every task's result."""


@dataclass(frozen=True, slots=True)
class Retries:
    """Exponential backoff: `delay · factor^(failures-1)`, at most `cap`, spread by ± `jitter`.

    The defaults wait about 5 s, 15 s, 45 s and 135 s before the attempts 2 to 5.
    """

    #: Attempts that may fail, the first one included.
    max_attempts: int = 5
    delay: timedelta = timedelta(seconds=5)
    factor: float = 3.0
    cap: timedelta = timedelta(minutes=30)
    #: Share of the delay, 0 to 1, by which it is moved up or down at random.
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError("max_attempts must be at least 1")
        if not (self.delay > timedelta(0) and self.factor >= 1 and self.cap >= self.delay):
            raise ValueError("delay must be positive, factor at least 1 and cap at least delay")
        if not 0 <= self.jitter <= 1:
            raise ValueError("jitter must be between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract(Generic[P, R]):
    """One kind of task."""

    #: `area.verb_object`, unique.
    name: str
    queue: str
    params: type[P]
    result: type[R]
    #: Goes up when parameters change so that older workers cannot read them.
    version: int = 1
    #: How parameters of version n become those of n + 1, by n: tasks of before a deploy run after it.
    upcasts: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = field(
        default_factory=dict, compare=False
    )
    #: What it was called, and the queues it ran in, before: their tasks are still taken.
    former_names: tuple[str, ...] = ()
    former_queues: tuple[str, ...] = ()
    priority: int = DEFAULT_PRIORITY
    retries: Retries = Retries()
    #: Exceptions that are foreseen and passing: retried with a warning instead of an error.
    expected: tuple[type[Exception], ...] = ()
    #: Exceptions after which a retry makes no sense.
    permanent: tuple[type[Exception], ...] = ()
    #: When the clock submits it, on every platform.
    schedules: tuple[Schedule, ...] = ()
    #: An attempt that runs longer is interrupted and counts as failed; one that does not heed the interrupt
    #: ends with its process.
    time_limit: timedelta = timedelta(minutes=30)
    #: A task that has not started so long after it could is not worth starting any more; None: always.
    max_wait: timedelta | None = None
    #: Rules for new tasks only, that a day lies ahead: one that waits for its retry need not keep them. Given
    #: the parameters and the present, returns what is broken.
    rules_for_new: Callable[[P, datetime], Iterable[FieldProblem]] | None = field(default=None, compare=False)
    #: Submitted by operators, schedules and other tasks; not by guests.
    staff_only: bool = False
    #: Submitted by the platform and by other tasks only: no request and no schedule of a request may name it.
    internal: bool = False
    #: The parameter that holds the id of the account the task is for; None: it is for no account in
    #: particular. Users may name themselves only, administrators any account that exists.
    recipient: str | None = None
    #: The daily quota that a submission through the API takes one of; an application declares its amounts.
    quota: str | None = None
    #: A submission through the API needs an Idempotency-Key: done twice, it would do harm.
    needs_key: bool = False
    #: Fields that the vault seals; marked in `params` and `result` with `SENSITIVE`.
    sensitive_params: frozenset[str] = field(init=False, repr=False)
    sensitive_result: frozenset[str] = field(init=False, repr=False)
    #: Fields that may hold a time without a zone: attribute and name in JSON.
    _times_in_params: Mapping[str, str] = field(init=False, repr=False, compare=False)
    _times_in_result: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"contract name {self.name!r} must read area.verb_object in lower case")
        if not _QUEUE.fullmatch(self.queue):
            raise ValueError(f"queue {self.queue!r} must be lower case letters, digits and underscores")
        if not LOWEST_PRIORITY <= self.priority <= HIGHEST_PRIORITY:
            raise ValueError(f"priority of {self.name} must be between 0 and 9")
        self._check_schedules()
        if self.time_limit <= timedelta(0) or (self.max_wait or timedelta(1)) <= timedelta(0):
            raise ValueError(f"time_limit and max_wait of {self.name} must be positive")
        if self.quota is not None and not _QUEUE.fullmatch(self.quota):
            raise ValueError(f"quota of {self.name} must be lower case letters, digits and underscores")
        if self.recipient is not None and self.recipient not in self.params.__struct_fields__:
            raise ValueError(f"recipient of {self.name} must be a field of {self.params.__name__}")
        object.__setattr__(self, "sensitive_params", sensitive_fields(self.params))
        object.__setattr__(self, "sensitive_result", sensitive_fields(self.result))
        object.__setattr__(self, "_times_in_params", _time_fields(self.params))
        object.__setattr__(self, "_times_in_result", _time_fields(self.result))

    def _check_schedules(self) -> None:
        for schedule in self.schedules:
            if not isinstance(schedule.params, self.params):
                raise ValueError(f"params of schedule {schedule.name} must be {self.params.__name__}")

    def recipient_of(self, params: P) -> int | None:
        """The id of the account that a task with these parameters is for."""
        return None if self.recipient is None else getattr(params, self.recipient)

    @property
    def type(self) -> str:
        """The category shown to users: the area of the name."""
        return self.name.partition(".")[0]

    def check_params(self, raw: Any) -> P:
        """Turn plain JSON values (dict, list, str, int, …) into this contract's parameters.

        Nothing is converted: a string is no number. Raises InvalidFields; field paths begin with `params`.
        """
        try:
            params = msgspec.convert(raw, self.params)
        except msgspec.ValidationError:
            raise InvalidFields(broken_rules.find(raw, self.params, "params")) from None
        _refuse_naive_times(params, self._times_in_params, "params")
        return params

    def upcast(self, raw: dict[str, Any], version: int) -> dict[str, Any]:
        """Parameters of an older version as this one has them. Raises InvalidFields where none leads here."""
        for step in range(version, self.version):
            if step not in self.upcasts:
                rule = f"are of version {step}, which {self.name} can't read any more"
                raise InvalidFields([FieldProblem("params", rule)])
            raw = self.upcasts[step](raw)
        return raw

    def encode_params(self, params: P) -> str:
        """JSON text for the ledger. Raises InvalidFields when jsonb could not hold it or it is too large."""
        return encode_document(params, "params", MAX_PARAMS_BYTES)

    def decode_params(self, text: str) -> P:
        """Read what `encode_params` wrote. Raises InvalidFields."""
        try:
            return msgspec.json.decode(text, type=self.params)
        except msgspec.ValidationError as error:
            raise InvalidFields([broken_rules.read(str(error), "params")]) from None

    def encode_result(self, result: R) -> str:
        """JSON text for the ledger.

        Raises InvalidFields as `encode_params` does, and for a field that breaks the contract's rules.
        """
        if not isinstance(result, self.result):
            got = type(result).__name__
            raise InvalidFields([FieldProblem("result", f"must be {self.result.__name__}, not {got}")])
        text = encode_document(result, "result", MAX_RESULT_BYTES)
        try:
            # Python checks no field when a struct is made. A typical result is checked in a microsecond.
            msgspec.json.decode(text, type=self.result)
        except msgspec.ValidationError as error:
            raise InvalidFields([broken_rules.read(str(error), "result")]) from None
        _refuse_naive_times(result, self._times_in_result, "result")
        return text


def encode_document(value: Any, root: str, max_bytes: int) -> str:
    """Encode to JSON text that Postgres' jsonb accepts: no NUL, no lone surrogate, no NaN or infinity."""
    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError:
        encoded = b"\\u0000"
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidFields([FieldProblem(root, f"cannot be stored as JSON: {error}")]) from None
    text = encoded.decode()
    # msgspec writes NaN as null, so a null is the only sign of it; both checks are rare.
    if "\\u0000" in text or "null" in text:
        problems = list(_unstorable(msgspec.to_builtins(value), root))
        if problems:
            raise InvalidFields(problems)
    if len(encoded) > max_bytes:
        rule = f"must be at most {max_bytes} bytes as JSON, but is {len(encoded)}"
        raise InvalidFields([FieldProblem(root, rule)])
    return text


def _time_fields(struct: type[msgspec.Struct]) -> dict[str, str]:
    """The fields that may hold a time without a zone, and how JSON names them."""
    described: Any = msgspec.inspect.type_info(struct)
    return {each.name: each.encode_name for each in described.fields if _describes_times(each.type, set())}


def _describes_times(described: Any, seen: set[int]) -> bool:
    """Walk msgspec's description of a type; `seen` ends the walk where structs contain themselves."""
    if id(described) in seen:
        return False
    seen.add(id(described))
    match described:
        case msgspec.inspect.DateTimeType(tz=None):
            return True
        case tuple():
            return any(_describes_times(each, seen) for each in described)
        case msgspec.Struct():
            return any(
                _describes_times(getattr(described, name), seen) for name in described.__struct_fields__
            )
    return False


def _refuse_naive_times(value: msgspec.Struct, fields: Mapping[str, str], root: str) -> None:
    """Raises InvalidFields: a time without a zone is another moment on each machine."""
    problems: list[FieldProblem] = []
    for name, in_json in fields.items():
        if (held := getattr(value, name)) is not msgspec.UNSET:
            plain = msgspec.to_builtins(held, builtin_types=(datetime,))
            problems += _naive_times(plain, f"{root}.{in_json}")
    if problems:
        raise InvalidFields(problems)


def _naive_times(value: Any, path: str) -> Iterator[FieldProblem]:
    match value:
        case datetime() if value.tzinfo is None:
            yield FieldProblem(path, "must carry a time zone, for example 2026-11-22T12:00:00Z")
        case dict():
            for key, item in value.items():
                yield from _naive_times(item, f"{path}.{key}")
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _naive_times(item, f"{path}[{index}]")


def _unstorable(value: Any, path: str) -> Iterator[FieldProblem]:
    match value:
        case str():
            if "\x00" in value:
                yield FieldProblem(path, "must not contain the NUL character")
            elif any("\ud800" <= c <= "\udfff" for c in value):
                yield FieldProblem(path, "must not contain half a surrogate pair")
        case float() if not math.isfinite(value):
            yield FieldProblem(path, "must be a finite number")
        case dict():
            for key, item in value.items():
                yield from _unstorable(key, f"{path}.{key!r}")
                yield from _unstorable(item, f"{path}.{key}")
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _unstorable(item, f"{path}[{index}]")
