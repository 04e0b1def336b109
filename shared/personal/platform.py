"""What the platform itself stores of accounts, beside the account and the tasks."""

from shared.personal.data import PersonalData, Rows, Then

PERSONAL_DATA = PersonalData(
    rows=(
        # Their refresh tokens go with them.
        Rows(table="session", column="user", then=Then.DELETE),
        Rows(
            table="account_confirmation",
            column="user",
            then=Then.DELETE,
            key=("token_hash",),
            withheld=frozenset({"token_hash"}),
        ),
        Rows(table="api_key", column="user", then=Then.DELETE, withheld=frozenset({"secret_hash"})),
        # Schedules of an operator go on without one. The export shows them with readable parameters.
        Rows(table="schedule", column="owner", then=Then.DETACH, key=("name",), is_exported=False),
        Rows(table="schedule", column="paused_by", then=Then.DETACH, key=("name",), is_exported=False),
        Rows(table="schedule", column="overridden_by", then=Then.DETACH, key=("name",), is_exported=False),
        # The queue stays paused.
        Rows(
            table="queue_control",
            column="paused_by",
            then=Then.DETACH,
            key=("queue",),
            is_exported=False,
            cleared=("reason",),
        ),
        # Evidence against those who leave, too; it goes with the retention of the audit log.
        Rows(table="audit", column="actor", then=Then.KEEP, documents=frozenset({"before", "after"})),
        Rows(table="workflow", column="owner", then=Then.DETACH, cleared=("unique_key",)),
    )
)
