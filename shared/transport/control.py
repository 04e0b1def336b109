"""Sends messages to all workers of a system through a Redis channel, and reads the answers of
workers.

A message is only a hint. It may be lost, and any client of Redis may send one. A message can
therefore only make a worker do two things: read its orders from the ledger (the Postgres database),
as it also does with each heartbeat, or show which lines its task bodies are executing.
"""

from typing import TypeAlias
from uuid import UUID

import msgspec

from shared.errors import ServerRefuses
from shared.transport.answers import answer_of
from shared.transport.keys import stack_key
from shared.transport.message import decoded
from shared.transport.queues import Queues

#: How long a worker's answer is stored in Redis if it is not read, in seconds.
ANSWER_LIFE_S = 10


class LookUp(msgspec.Struct, frozen=True, tag="look_up"):
    """Message to workers: an operator has changed the state of queues or workers, so read it from
    the ledger now.
    """


class ShowStack(msgspec.Struct, frozen=True, tag="show_stack"):
    """Message to workers: the worker that runs this task answers with the line that the task body
    is executing.
    """

    task: UUID
    #: Random id of this question. It is part of the name of the Redis key that will contain the
    #: answer.
    question: str


Message: TypeAlias = LookUp | ShowStack


class Frame(msgspec.Struct, frozen=True):
    """A frame of a stack: the line that is executing, or that waits for the frame it called. It
    contains no values of variables.
    """

    file: str
    line: int
    function: str
    #: The source text of the line. Empty if it could not be read.
    code: str


class Stack(msgspec.Struct, frozen=True):
    """The stack of a thread or of an asyncio task. The outermost frame is first."""

    name: str
    frames: list[Frame]


_MESSAGES: "msgspec.msgpack.Decoder[Message]" = msgspec.msgpack.Decoder(Message)
_STACKS = msgspec.msgpack.Decoder(list[Stack])


def decode(data: bytes) -> Message:
    """Decode a message. Raises msgspec.DecodeError for anything that was not sent by `announce`."""
    return decoded(_MESSAGES, data)


async def announce(queues: Queues, message: Message) -> None:
    """Send a message to all workers that are listening. Raises ServerUnavailable."""
    await answer_of(queues.client.publish(queues.control_channel, msgspec.msgpack.encode(message)))


async def answer_stacks(queues: Queues, question: str, stacks: list[Stack]) -> None:
    """Store a worker's answer to a ShowStack question in Redis. Raises ServerUnavailable."""
    await answer_of(queues.client.set(stack_key(question), msgspec.msgpack.encode(stacks), ex=ANSWER_LIFE_S))


async def read_stacks(queues: Queues, question: str) -> list[Stack] | None:
    """Read the answer to a ShowStack question. Returns None while there is no answer. Raises
    ServerUnavailable.
    """
    data = await answer_of(queues.client.get(stack_key(question)))
    try:
        return None if data is None else decoded(_STACKS, data)
    except msgspec.DecodeError as error:
        raise ServerRefuses("Redis", f"its answer is not a list of thread stacks: {error}") from error
