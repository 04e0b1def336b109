"""What is stored about a workflow and its steps, and how members that end change a step.

A step is one task or a group of tasks, its *members*. Its verdict (`state`) may be known before all members
have ended; it is *closed* when none is left.
"""

from enum import StrEnum
from uuid import UUID

import msgspec


class State(StrEnum):
    """The verdict of a step."""

    #: Its tasks do not exist yet.
    WAITING = "waiting"
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    #: Its result is missing because tasks were canceled; none failed.
    REVOKED = "revoked"
    #: Its tasks will not exist.
    SKIPPED = "skipped"


class Status(StrEnum):
    """The status of a workflow."""

    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    REVOKED = "revoked"


class Rule(StrEnum):
    """What a step asks of the steps that it needs."""

    ALL = "all"
    #: `k` successes; `ANY` is one.
    AT_LEAST = "at_least"
    #: All are closed, however they ended.
    ALWAYS = "always"
    #: One failed. The step handles the failure.
    FAILED = "failed"


class OnFailure(StrEnum):
    """What a failed step does to steps that do not need it."""

    GO_ON = "go_on"
    #: Steps that wait are skipped, those that run are canceled; handlers still run.
    STOP = "stop"


class Ended(msgspec.Struct, frozen=True):
    """Members that ended since the last decision, by status; negative when they were started again."""

    succeeded: int = 0
    failed: int = 0
    revoked: int = 0


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision reads of a step; the columns of `workflow_step` with the same names."""

    name: str
    #: Greater than the position of every step that it needs.
    position: int
    needs: tuple[str, ...] = ()
    next: tuple[str, ...] = ()
    rule: Rule = Rule.ALL
    #: Successes that AT_LEAST asks for.
    k: int = 0
    #: Members, and how many of them must succeed.
    size: int = 1
    enough: int = 1
    #: The verdict is success at the `enough`-th success; the other members are canceled then.
    first: bool = False
    #: It runs after a failure or in any case, or needs a step that does.
    handler: bool = False
    #: No step but handlers needs it, so its success counts for the workflow.
    sink: bool = False
    state: State = State.WAITING
    #: Its tasks exist. They wait with it when it waits again in a later run.
    begun: bool = False
    succeeded: int = 0
    failed: int = 0
    revoked: int = 0

    @property
    def open(self) -> bool:
        """True while a member may still end, or the step may still begin."""
        if self.state is State.SKIPPED:
            return False
        return self.state is State.WAITING or self.succeeded + self.missing < self.size

    @property
    def missing(self) -> int:
        """Members that did not succeed."""
        return self.failed + self.revoked

    @property
    def lost(self) -> bool:
        """True when its result will be missing."""
        return self.state in (State.FAILURE, State.REVOKED, State.SKIPPED)

    @property
    def is_loss(self) -> bool:
        """Whether its end makes the workflow a failure."""
        if self.open:
            return False
        if self.handler:
            return self.state in (State.FAILURE, State.REVOKED)
        return self.sink and self.lost

    def counted(self, ended: Ended) -> "Step":
        """The step after members have ended, or were started again (negative counts)."""
        changed = msgspec.structs.replace(
            self,
            succeeded=self.succeeded + ended.succeeded,
            failed=self.failed + ended.failed,
            revoked=self.revoked + ended.revoked,
        )
        return changed if self.state is State.WAITING else changed.judged()

    def waiting_again(self) -> "Step":
        """The step as it waits in the next run; nothing of its tasks counts any more."""
        return msgspec.structs.replace(self, state=State.WAITING, succeeded=0, failed=0, revoked=0)

    def judged(self) -> "Step":
        """The step with the verdict that its counts give."""
        state = State.RUNNING
        if self.missing > self.size - self.enough:
            state = State.FAILURE if self.failed else State.REVOKED
        elif self.succeeded >= self.enough and (self.first or self.succeeded + self.missing >= self.size):
            state = State.SUCCESS
        return msgspec.structs.replace(self, state=state)


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision reads of a workflow; the columns of `workflow` with the same names."""

    id: UUID
    on_failure: OnFailure = OnFailure.GO_ON
    open_steps: int
    #: Closed steps that make it a failure.
    losses: int = 0
    #: Requests to cancel it; the second one ends handlers as well.
    cancels: int = 0
    #: Its deadline passed.
    late: bool = False
    #: A step failed, and `on_failure` is STOP.
    stopped: bool = False

    @property
    def halted(self) -> bool:
        """No step but handlers begins any more."""
        return self.cancels > 0 or self.late or self.stopped

    @property
    def status(self) -> Status:
        """Its status with the present counts."""
        if self.open_steps:
            return Status.RUNNING
        if self.cancels:
            return Status.REVOKED
        return Status.FAILURE if self.late or self.losses else Status.SUCCESS
