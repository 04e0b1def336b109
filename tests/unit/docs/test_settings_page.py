"""Tests that docs/settings.md is up to date with the settings classes from which it is
generated.
"""

from dataclasses import dataclass, field, fields
from datetime import timedelta

from tools import settings_page


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A sample settings class with two settings and a field that is no setting.

    One setting has a comment of two lines.
    """

    plain: str = field(default="", metadata={"variable": "SAMPLE_URL", "rule": "https://host"})
    #: How long it
    #: waits.
    wait: timedelta = field(default=timedelta(minutes=1), metadata={"variable": "SAMPLE_WAIT"})
    derived: int = 0


def test_the_page_is_what_the_classes_say() -> None:
    written = settings_page.PAGE.read_text()
    assert written == settings_page.page(settings_page.CLASSES), "run `python -m tools.settings_page`"


def test_a_field_is_listed_with_its_default_rule_and_comment() -> None:
    assert settings_page.page({"Sample": Sample}).endswith(
        "## Sample\n\n"
        "- `SAMPLE_URL` (no default). Format: https://host.\n"
        "- `SAMPLE_WAIT` (default: 60 seconds). How long it waits.\n"
    )


def test_every_variable_of_the_settings_is_on_the_page() -> None:
    written = settings_page.PAGE.read_text()
    listed = [field for cls in settings_page.CLASSES.values() for field in fields(cls)]
    variables = [field.metadata["variable"] for field in listed if "variable" in field.metadata]
    assert "DATABASE_URL" in variables
    assert [name for name in variables if f"- `{name}` " not in written] == []
