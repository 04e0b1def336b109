"""Defines contracts. A contract describes a kind of task: its name, parameters, retries and limits.

The work itself is a function that only the worker loads. The API and the scheduler know only
contracts.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

import msgspec

from shared.contracts import broken_rules, document, naive_times
from shared.contracts.objective import DEFAULT, Objective
from shared.contracts.schedule import Schedule
from shared.contracts.sensitivity import sensitive_fields
from shared.errors import FieldProblem, InvalidFields

P = TypeVar("P", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)

#: Lowest, default and highest priority of a task. Workers run tasks with a higher priority first.
LOWEST_PRIORITY, DEFAULT_PRIORITY, HIGHEST_PRIORITY = 0, 5, 9

#: Maximum size of a task's parameters in bytes. Store larger data in a table or a file, and pass
#: its id as a parameter.
MAX_PARAMS_BYTES = 256 * 1024
MAX_RESULT_BYTES = 1024 * 1024

_NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_QUEUE = re.compile(r"[a-z][a-z0-9_]*")


class Params(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base class of every task's parameters. Unknown fields are refused."""


class Result(msgspec.Struct, kw_only=True):
    """Base class of every task's result."""


@dataclass(frozen=True, slots=True)
class Retries:
    """Exponential backoff: `delay · factor^(failures-1)`, at most `cap`, varied by ± `jitter`.

    The defaults wait about 5 s, 15 s, 45 s and 135 s before the attempts 2 to 5.
    """

    #: Number of failed attempts after which the task fails permanently. The first attempt counts.
    max_attempts: int = 5
    delay: timedelta = timedelta(seconds=5)
    factor: float = 3.0
    cap: timedelta = timedelta(minutes=30)
    #: Share of the delay by which it is randomly increased or decreased: a number from 0 to 1.
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
    """The contract of one kind of task: everything that services know about it except its code."""

    #: Unique name of the kind of task, in the form `area.verb_object`.
    name: str
    queue: str
    params: type[P]
    result: type[R]
    #: Version of the parameters. Increase it when the parameters change in a way that older workers
    #: cannot read.
    version: int = 1
    #: Functions that convert parameters of an older version n to version n + 1, by n. Tasks that
    #: were submitted before a deploy with a new version need them.
    upcasts: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = field(
        default_factory=dict, compare=False
    )
    #: Former names and former queues of this kind of task. Tasks that were stored with them still
    #: run.
    former_names: tuple[str, ...] = ()
    former_queues: tuple[str, ...] = ()
    priority: int = DEFAULT_PRIORITY
    retries: Retries = Retries()
    #: Exceptions of the task body that are expected and temporary. A retry after one of them logs a
    #: warning instead of an error.
    expected: tuple[type[Exception], ...] = ()
    #: Exceptions of the task body after which the task fails without a retry.
    permanent: tuple[type[Exception], ...] = ()
    #: Schedules that submit this task on every installation.
    schedules: tuple[Schedule, ...] = ()
    #: Time limit of an attempt. An attempt that takes longer is interrupted and fails. If the task
    #: body ignores the interrupt, the worker process is replaced.
    time_limit: timedelta = timedelta(minutes=30)
    #: Maximum time for which a due task may wait until it starts. A task that waits longer expires.
    #: None means that there is no limit.
    max_wait: timedelta | None = None
    #: Function that checks the parameters of new tasks only, for example that a day is in the
    #: future. A stored task that waits for a retry may break such rules. The function takes the
    #: parameters and the current time, and returns the broken rules.
    rules_for_new: Callable[[P, datetime], Iterable[FieldProblem]] | None = field(default=None, compare=False)
    #: True if ordinary users may not submit the task. Operators, schedules and other tasks may.
    staff_only: bool = False
    #: True if only the platform and other tasks may submit the task. Neither a request nor a
    #: schedule that a request creates may name it.
    internal: bool = False
    #: Name of the parameter that contains the id of the account that the task is for. None if the
    #: task is for no particular account. Users may only pass their own id; administrators may pass
    #: the id of any existing account.
    recipient: str | None = None
    #: Name of the daily quota that each submission through the API reduces by one. The application
    #: declares the amounts of its quotas. None means that there is no quota.
    quota: str | None = None
    #: True if a submission through the API needs the header Idempotency-Key, because running the
    #: task twice would do harm.
    needs_key: bool = False
    #: What the platform promises about these tasks: the share that must succeed, and how soon they
    #: must start. Alerts are generated from it.
    objective: Objective = DEFAULT
    #: Names of the fields of `params` and `result` that are encrypted before they are stored. They
    #: are marked with `SENSITIVE`.
    sensitive_params: frozenset[str] = field(init=False, repr=False)
    sensitive_result: frozenset[str] = field(init=False, repr=False)
    #: Fields of `params` and `result` that may contain a time without a zone, as a map from the
    #: attribute's name to its name in JSON.
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
        object.__setattr__(self, "_times_in_params", naive_times.fields_of(self.params))
        object.__setattr__(self, "_times_in_result", naive_times.fields_of(self.result))

    def _check_schedules(self) -> None:
        for schedule in self.schedules:
            if not isinstance(schedule.params, self.params):
                raise ValueError(
                    f"params of schedule {schedule.name} must be an instance of {self.params.__name__}"
                )

    def recipient_of(self, params: P) -> int | None:
        """The id of the account that a task with these parameters is for, if there is one."""
        return None if self.recipient is None else getattr(params, self.recipient)

    @property
    def type(self) -> str:
        """The category of the task that users see: the part of its name before the dot."""
        return self.name.partition(".")[0]

    def check_params(self, raw: Any) -> P:
        """Convert plain JSON values (dict, list, str, int, …) into the parameters of this contract.

        A value of another type is refused, so a string is not accepted as a number. Raises
        InvalidFields, with field paths that begin with `params`.
        """
        try:
            params = msgspec.convert(raw, self.params)
        except msgspec.ValidationError:
            raise InvalidFields(broken_rules.find(raw, self.params, "params")) from None
        naive_times.refuse(params, self._times_in_params, "params")
        return params

    def upcast(self, raw: dict[str, Any], version: int) -> dict[str, Any]:
        """Convert parameters of an older version to the current one.

        Raises InvalidFields if no upcast exists for that version.
        """
        for step in range(version, self.version):
            if step not in self.upcasts:
                rule = f"are of version {step}, which {self.name} can't read any more"
                raise InvalidFields([FieldProblem("params", rule)])
            raw = self.upcasts[step](raw)
        return raw

    def encode_params(self, params: P) -> str:
        """Encode parameters as JSON text, which is stored in Postgres.

        Raises InvalidFields if the text is too large or if Postgres' type jsonb cannot store it.
        """
        return document.encode(params, "params", MAX_PARAMS_BYTES)

    def decode_params(self, text: str) -> P:
        """Decode the JSON text that `encode_params` returned.

        Raises InvalidFields if it does not fit the contract.
        """
        try:
            return msgspec.json.decode(text, type=self.params)
        except msgspec.ValidationError as error:
            raise InvalidFields([broken_rules.read(str(error), "params")]) from None

    def encode_result(self, result: R) -> str:
        """Encode the result of a task as JSON text, which is stored in Postgres.

        Raises InvalidFields if a field breaks a rule of the contract, if the text is too large, or
        if Postgres' type jsonb cannot store it.
        """
        if not isinstance(result, self.result):
            got = type(result).__name__
            raise InvalidFields([FieldProblem("result", f"must be {self.result.__name__}, not {got}")])
        text = document.encode(result, "result", MAX_RESULT_BYTES)
        try:
            # msgspec does not check the fields when Python code creates a struct, so the encoded
            # text is checked. This takes a microsecond for a typical result.
            msgspec.json.decode(text, type=self.result)
        except msgspec.ValidationError as error:
            raise InvalidFields([broken_rules.read(str(error), "result")]) from None
        naive_times.refuse(result, self._times_in_result, "result")
        return text
