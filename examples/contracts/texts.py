"""Example contract of a plain task: its parameters and its result."""

from typing import Annotated

from msgspec import Meta

from shared.contracts.contract import Contract, Params, Result


class CountWords(Params):
    text: Annotated[str, Meta(max_length=100_000)]


class WordsCounted(Result):
    words: int
    #: The most frequent word of the text; null if the text is empty.
    most_common: str | None


COUNT_WORDS = Contract(name="texts.count_words", queue="default", params=CountWords, result=WordsCounted)
