"""Tests of how the launcher reports wrong settings in the shell from which it is started."""

import pytest

from local import programs
from local.errors import LaunchError


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"REDIS_URL": "redis://:pass#word@cache"}, "REDIS_URL must have special characters"),
        ({"DATABASE_URL": "mysql://db"}, "DATABASE_URL must begin with postgres://"),
        ({"OFTEN_STALL_AFTER": "nan"}, "OFTEN_STALL_AFTER must be a number of seconds"),
        ({"OFTEN_APPLICATIONS": "shop"}, "OFTEN_APPLICATIONS names 'shop', but there is no module"),
    ],
)
def test_a_setting_that_no_service_would_start_with_stops_the_launcher_by_name(
    environment: dict[str, str], said: str
) -> None:
    with pytest.raises(LaunchError, match=said):
        programs._check(environment)


def test_a_misspelled_setting_is_named_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    programs._check({"OFTEN_WORKER_THREAD": "4"})
    said = capsys.readouterr().out
    assert said.startswith("Ignored in the environment: OFTEN_WORKER_THREAD is not a setting")
    assert said.endswith(": did you mean OFTEN_WORKER_THREADS?\n")
