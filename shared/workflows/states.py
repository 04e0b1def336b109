"""Defines the stored state of a workflow and its steps, and how a step changes when its tasks end.

A step is one task or a group of tasks; these tasks are its *members*. The result of a step
(`state`) may be decided before all members have ended. A step is *closed* when all of its members
have ended.
"""

from enum import StrEnum
from uuid import UUID

import msgspec


class State(StrEnum):
    """The state of a step."""

    #: WAITING: the step has not begun in the current run of the workflow. Its tasks do not exist,
    #: or wait with it.
    WAITING = "waiting"
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    #: REVOKED: the step did not succeed because tasks were canceled; no task failed.
    REVOKED = "revoked"
    #: SKIPPED: the step will not run, because its condition cannot be met or the workflow was
    #: stopped.
    SKIPPED = "skipped"


class Status(StrEnum):
    """The status of a workflow."""

    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    REVOKED = "revoked"


class Rule(StrEnum):
    """The condition under which a step begins. It refers to the steps in `needs`, on which the step
    depends.
    """

    ALL = "all"
    #: AT_LEAST: at least `k` of the steps in `needs` have succeeded. The rule ANY of the Python API
    #: is stored as AT_LEAST with `k` = 1.
    AT_LEAST = "at_least"
    #: ALWAYS: all steps in `needs` have closed, however they ended.
    ALWAYS = "always"
    #: FAILED: at least one of the steps in `needs` has failed, and this step handles the failure.
    FAILED = "failed"


class OnFailure(StrEnum):
    """What happens to the steps that do not depend on a failed step: they go on (GO_ON) or stop
    (STOP).
    """

    GO_ON = "go_on"
    #: STOP: waiting steps are skipped and running steps are canceled, except failure handlers.
    STOP = "stop"


class Ended(msgspec.Struct, frozen=True):
    """Numbers of a step's members that ended since the last decision, by status. They are negative
    if members were reopened to run again.
    """

    succeeded: int = 0
    failed: int = 0
    revoked: int = 0


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of a row of `workflow_step` that decisions need, under the same names."""

    name: str
    #: Position of the step in the order of the workflow. It is greater than the positions of all
    #: steps on which this one depends.
    position: int
    needs: tuple[str, ...] = ()
    next: tuple[str, ...] = ()
    rule: Rule = Rule.ALL
    #: Number of steps in `needs` that must succeed if the rule is AT_LEAST.
    k: int = 0
    #: Number of members of the step (`size`), and number of them that must succeed (`enough`).
    size: int = 1
    enough: int = 1
    #: True if the step succeeds as soon as `enough` members have succeeded, after which the other
    #: members are canceled.
    first: bool = False
    #: True if the step is a failure handler: its rule is FAILED or ALWAYS, or it depends on such a
    #: step.
    handler: bool = False
    #: True if no other step depends on this one, except handlers. The workflow succeeds only if all
    #: such steps do.
    sink: bool = False
    state: State = State.WAITING
    #: True if the rows of the step's tasks exist. If the step waits again in a later run of the
    #: workflow, its tasks wait, too.
    begun: bool = False
    succeeded: int = 0
    failed: int = 0
    revoked: int = 0

    @property
    def open(self) -> bool:
        """True if the step may still begin, or if it has members that have not ended."""
        if self.state is State.SKIPPED:
            return False
        return self.state is State.WAITING or self.open_members > 0

    @property
    def open_members(self) -> int:
        """Number of members that have not ended."""
        return self.size - self.succeeded - self.missing

    @property
    def missing(self) -> int:
        """Number of members that have ended without success."""
        return self.failed + self.revoked

    @property
    def lost(self) -> bool:
        """True if the step has ended, or will end, without a result."""
        return self.state in (State.FAILURE, State.REVOKED, State.SKIPPED)

    @property
    def is_loss(self) -> bool:
        """True if the step has closed in a way that makes the workflow a failure."""
        if self.open:
            return False
        if self.handler:
            return self.state in (State.FAILURE, State.REVOKED)
        return self.sink and self.lost

    def counted(self, ended: Ended) -> "Step":
        """The step after these members have ended. Negative numbers mean that members were
        reopened.
        """
        changed = msgspec.structs.replace(
            self,
            succeeded=self.succeeded + ended.succeeded,
            failed=self.failed + ended.failed,
            revoked=self.revoked + ended.revoked,
        )
        return changed if self.state is State.WAITING else changed.judged()

    def waiting_again(self) -> "Step":
        """The step reset to waiting for the next run of the workflow, with all counts at zero."""
        return msgspec.structs.replace(self, state=State.WAITING, succeeded=0, failed=0, revoked=0)

    def judged(self) -> "Step":
        """The step with the state that follows from the counts of its members."""
        state = State.RUNNING
        if self.missing > self.size - self.enough:
            state = State.FAILURE if self.failed else State.REVOKED
        elif self.succeeded >= self.enough and (self.first or self.succeeded + self.missing >= self.size):
            state = State.SUCCESS
        return msgspec.structs.replace(self, state=state)


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of a row of `workflow` that decisions need, under the same names."""

    id: UUID
    on_failure: OnFailure = OnFailure.GO_ON
    open_steps: int
    #: Number of closed steps that each make the workflow a failure.
    losses: int = 0
    #: Number of cancel requests. The second one also cancels failure handlers.
    cancels: int = 0
    #: True if the deadline of the workflow has passed.
    late: bool = False
    #: True if a step has failed in a workflow whose `on_failure` is STOP.
    stopped: bool = False

    @property
    def halted(self) -> bool:
        """True if the workflow was canceled, is late or was stopped, so that only failure handlers
        may still begin.
        """
        return self.cancels > 0 or self.late or self.stopped

    @property
    def status(self) -> Status:
        """The status of the workflow, which follows from its counts."""
        if self.open_steps:
            return Status.RUNNING
        if self.cancels:
            return Status.REVOKED
        return Status.FAILURE if self.late or self.losses else Status.SUCCESS
