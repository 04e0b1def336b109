from services.api.words import plural, span


def test_one_thing_is_not_called_several() -> None:
    assert [plural(count, "task") for count in (0, 1, 2_000)] == ["0 tasks", "1 task", "2,000 tasks"]
    assert [plural(count, "task waits", "tasks wait") for count in (1, 2)] == ["1 task waits", "2 tasks wait"]


def test_a_duration_has_two_units_at_most() -> None:
    assert [span(seconds) for seconds in (0.4, 65, 3_600, 90_061)] == ["0 s", "1 min 5 s", "1 h", "1 d 1 h"]
