"""The rights in Postgres that each service has on the hotel application's tables.

The worker also gets rights on accounts, which the hotel application's tasks need.
"""

from shared.roles import API, WORKER, Grants

GRANTS: Grants = {
    API: {
        "mail_preference": ("SELECT", "INSERT", "UPDATE"),
        "country": ("SELECT",),
        "destination": ("SELECT",),
        "area": ("SELECT",),
        "hotel": ("SELECT",),
        "price_alert": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "price_observation": ("SELECT",),
        "push_subscription": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        # The API reads these tables to export the data of an account.
        "notification_log": ("SELECT",),
        "payment": ("SELECT",),
        "payment_customer": ("SELECT",),
    },
    WORKER: {
        "account": ("SELECT (id, email, full_name, is_active, verified_at)",),
        "mail_preference": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "country": ("SELECT",),
        "destination": ("SELECT",),
        "area": ("SELECT",),
        "hotel": ("SELECT", "INSERT", "UPDATE"),
        "price_alert": ("SELECT", "UPDATE (last_sent_at)", "DELETE"),
        "price_observation": ("SELECT", "INSERT", "UPDATE"),
        "provider_account": ("SELECT", "INSERT", "UPDATE"),
        "provider_answer": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "push_subscription": ("SELECT", "UPDATE (last_used_at)", "DELETE"),
        "notification_log": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "payment": ("SELECT", "INSERT", "UPDATE"),
        "payment_customer": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    },
}
