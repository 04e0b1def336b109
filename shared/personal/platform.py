"""Declares what the platform itself stores about accounts, apart from the account row and its
tasks.
"""

from shared.personal.data import PersonalData, Rows, Then

PERSONAL_DATA = PersonalData(
    rows=(
        # Deleting a session also deletes its refresh tokens.
        Rows(table="session", column="user", then=Then.DELETE),
        Rows(
            table="account_confirmation",
            column="user",
            then=Then.DELETE,
            key=("token_hash",),
            withheld=frozenset({"token_hash"}),
        ),
        Rows(table="api_key", column="user", then=Then.DELETE, withheld=frozenset({"secret_hash"})),
        # Schedules of an erased operator keep firing, without an owner. The export of personal data
        # shows schedules in a section of its own, with decrypted parameters.
        Rows(table="schedule", column="owner", then=Then.DETACH, key=("name",), is_exported=False),
        Rows(table="schedule", column="paused_by", then=Then.DETACH, key=("name",), is_exported=False),
        Rows(table="schedule", column="overridden_by", then=Then.DETACH, key=("name",), is_exported=False),
        # When the operator who paused a queue is erased, the queue stays paused without that
        # operator's name.
        Rows(
            table="queue_control",
            column="paused_by",
            then=Then.DETACH,
            key=("queue",),
            is_exported=False,
            cleared=("reason",),
        ),
        # When an operator is erased, decisions of that operator about error groups stay, without
        # the name.
        Rows(
            table="error_group",
            column="changed_by",
            then=Then.DETACH,
            key=("fingerprint",),
            is_exported=False,
            cleared=("note",),
        ),
        # The filters of bulk operations may contain text about people, so these rows are deleted. A
        # bulk operation that is still running ends when its row is missing.
        Rows(
            table="bulk_act",
            column="actor",
            then=Then.DELETE,
            documents=frozenset({"filter", "given", "changes", "refusals"}),
        ),
        # Rows of the audit log are kept when an account is erased, because the log must remain
        # evidence after a person has left. They are deleted when the log's retention is over.
        Rows(table="audit", column="actor", then=Then.KEEP, documents=frozenset({"before", "after"})),
        Rows(table="workflow", column="owner", then=Then.DETACH, cleared=("unique_key", "trace_context")),
    )
)
