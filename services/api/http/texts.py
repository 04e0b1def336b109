"""Refuses texts in query and path parameters that Postgres can neither store nor search for."""

from shared.errors import FieldProblem, InvalidFields


def problem(field: str, text: str) -> FieldProblem | None:
    """Return the rule that the text of a parameter breaks, or None if it breaks no rule."""
    if "\x00" in text:
        return FieldProblem(field, "must not contain the NUL character")
    if any("\ud800" <= character <= "\udfff" for character in text):
        return FieldProblem(field, "must not contain half of a surrogate pair")
    return None


def refuse_unstorable(**texts: str | None) -> None:
    """Refuse texts in parameters that Postgres cannot store. `texts` maps parameter names to texts.
    Raises InvalidFields.
    """
    problems = [problem(name, text) for name, text in texts.items() if text is not None]
    if found := [each for each in problems if each is not None]:
        raise InvalidFields(found)
