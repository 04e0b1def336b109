"""Tests that each process of the local system gets its own secrets in files, and no secret of
another process.
"""

from pathlib import Path

from local.secret_files import Secrets

GIVEN = {
    "DATABASE_URL": "postgres://owner:secret@127.0.0.1/often",
    "SECRET_KEY": "key of the API",
    "SMTP_PASSWORD_FILE": "/run/smtp",
    "OFTEN_VAULT_KEYS": "one:key",
    "OFTEN_APPLICATIONS": "shared.hotel",
    "OFTEN_WORKER_THREADS": "4",
    "STRIPE_SECRET_KEY": "sk_test",
}


def test_a_process_gets_the_secrets_of_its_service(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path, GIVEN)
    assert secrets.public.keys() == {"OFTEN_APPLICATIONS", "OFTEN_WORKER_THREADS"}
    address = "postgres://often_worker:other@127.0.0.1/often"
    worker = secrets.of("worker-1", "worker", DATABASE_URL=address)
    scheduler = secrets.of("scheduler-1", "scheduler")
    own = ("DATABASE_URL", "OFTEN_VAULT_KEYS", "SMTP_PASSWORD", "STRIPE_SECRET_KEY")
    assert worker.keys() == {f"{name}_FILE" for name in own}
    assert scheduler.keys() == {"DATABASE_URL_FILE", "OFTEN_VAULT_KEYS_FILE"}
    api = secrets.of("api", "api")
    assert api.keys() == {"DATABASE_URL_FILE", "OFTEN_VAULT_KEYS_FILE", "SECRET_KEY_FILE"}
    file = Path(worker["DATABASE_URL_FILE"])
    assert (file.read_text(), file.stat().st_mode & 0o777) == (address, 0o600)
    assert worker["SMTP_PASSWORD_FILE"] == "/run/smtp"
    assert Path(scheduler["DATABASE_URL_FILE"]).read_text() == GIVEN["DATABASE_URL"]
