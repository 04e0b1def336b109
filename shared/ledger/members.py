"""Finds the tasks of a workflow step by their ids, which are consecutive.

All ids of a group have the same first 96 bits, which come from one UUIDv7. The last 32 bits are the
number of the member, counted from 0. The row of the step contains the first and the last id. The
primary key of `task` therefore finds the members in their order, and no other index is needed
(docs/decisions/0052).
"""

#: Number of characters of an id, as text, that all members of a group have in common.
_COMMON_CHARS = 28


def id_of_member(group: str, number: str) -> str:
    """SQL expression for the id of a member. `group` is an SQL expression for the id of any member
    of the group, or for the UUIDv7 of a new group. `number` is one for the number of the member.
    """
    return f"(left(({group})::text, {_COMMON_CHARS}) || lpad(to_hex({number}), 8, '0'))::uuid"


def tasks_of_step(table: str = "task") -> str:
    """SQL of a subquery in FROM, with the alias `t`: all tasks of the step `s`, which is a row of
    `workflow_step`. There are none if the step has not begun. `table` may be a partition of `task`.

    OFFSET 0 makes Postgres read the step first and then the ids between its two. In a plain join,
    it would assume that a ninth of all tasks are between two ids, and might read all of them.
    """
    return f"LATERAL (SELECT * FROM {table} WHERE id BETWEEN s.task AND s.last_task OFFSET 0) AS t"
