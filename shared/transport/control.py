"""Messages to all workers of a system by a channel of Redis, and what they answer.

A message is a hint: it may be lost, and anybody who reaches Redis may send one. A worker therefore does only
what the ledger says, which it also reads with each heartbeat, or shows where its own bodies are.
"""

from typing import TypeAlias
from uuid import UUID

import msgspec

from shared.transport.answers import answer_of
from shared.transport.queues import Queues

#: How long an answer waits to be read.
ANSWER_LIFE_S = 10


class LookUp(msgspec.Struct, frozen=True, tag="look_up"):
    """An operator decided something about queues or workers: read it in the ledger now."""


class ShowStack(msgspec.Struct, frozen=True, tag="show_stack"):
    """The worker that runs this task says where its body is."""

    task: UUID
    #: Random; names the key of the answer.
    question: str


Message: TypeAlias = LookUp | ShowStack


class Frame(msgspec.Struct, frozen=True):
    """A line that is being executed or waits for the one below it. Holds no values."""

    file: str
    line: int
    function: str
    #: The source text of the line, where it can be read.
    code: str


class Stack(msgspec.Struct, frozen=True):
    """The frames of a thread or of an asyncio task, the outermost first."""

    name: str
    frames: list[Frame]


_MESSAGES: "msgspec.msgpack.Decoder[Message]" = msgspec.msgpack.Decoder(Message)
_STACKS = msgspec.msgpack.Decoder(list[Stack])


def decode(data: bytes) -> Message:
    """Raises msgspec.MsgspecError for what is no message of ours."""
    return _MESSAGES.decode(data)


async def announce(queues: Queues, message: Message) -> None:
    """Send a message to the workers that listen. Raises ServerUnavailable."""
    await answer_of(queues.client.publish(queues.control_channel, msgspec.msgpack.encode(message)))


async def answer_stacks(queues: Queues, question: str, stacks: list[Stack]) -> None:
    """Raises ServerUnavailable."""
    await answer_of(queues.client.set(_key(question), msgspec.msgpack.encode(stacks), ex=ANSWER_LIFE_S))


async def read_stacks(queues: Queues, question: str) -> list[Stack] | None:
    """The answer; None while there is none. Raises ServerUnavailable."""
    data = await answer_of(queues.client.get(_key(question)))
    return None if data is None else _STACKS.decode(data)


def _key(question: str) -> str:
    return f"often:stack:{question}"
