"""A plain task: what it takes and what it returns."""

from typing import Annotated

from msgspec import Meta

from shared.contracts.contract import Contract, Params, Result


class CountWords(Params):
    text: Annotated[str, Meta(max_length=100_000)]


class WordsCounted(Result):
    words: int
    #: The word that occurs most often; null for an empty text.
    most_common: str | None


COUNT_WORDS = Contract(name="texts.count_words", queue="default", params=CountWords, result=WordsCounted)
