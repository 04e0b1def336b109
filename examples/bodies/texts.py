"""Example of a plain task body: it counts words. A plain function runs in one of the worker's
threads.
"""

from collections import Counter

from examples.contracts.texts import COUNT_WORDS, CountWords, WordsCounted
from services.worker.registry import task
from shared.contracts.context import TaskContext


@task(COUNT_WORDS)
def count_words(context: TaskContext, params: CountWords) -> WordsCounted:
    words = Counter(params.text.lower().split())
    context.log.info("found %d different words", len(words))
    context.progress(100)
    return WordsCounted(words=words.total(), most_common=words.most_common(1)[0][0] if words else None)
