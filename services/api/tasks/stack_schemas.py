"""Response schemas that show the call stacks of a running task."""

from uuid import UUID

from services.api.http.schemas import Answer


class FrameAnswer(Answer):
    file: str
    line: int
    function: str
    #: Source text of the line that this frame is executing.
    code: str


class StackAnswer(Answer):
    #: Name of the thread that runs the task body, or of one of the body's asyncio tasks.
    name: str
    #: The frames of the call stack, outermost first. The last frame is executing or is awaiting
    #: something.
    frames: list[FrameAnswer]


class TaskStacks(Answer):
    task_id: UUID
    worker_id: UUID
    stacks: list[StackAnswer]
