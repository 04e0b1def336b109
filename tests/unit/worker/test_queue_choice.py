import pytest

from services.worker.queue_choice import queue_names
from services.worker.registry import TaskFunction
from shared.contracts.contract import Contract, Params, Result
from shared.errors import SettingsError


class Nothing(Params):
    pass


class Done(Result):
    pass


def contract(name: str, queue: str, *former_queues: str) -> Contract[Nothing, Done]:
    return Contract(name=name, queue=queue, params=Nothing, result=Done, former_queues=former_queues)


def body(*_: object) -> Done:
    return Done()


TASKS = {
    each.name: TaskFunction(each, body)
    for each in (
        contract("mail.send", "email", "mails"),
        contract("parcel.weigh", "parcels", "default"),
        contract("default.tidy", "default"),
    )
}


@pytest.mark.parametrize(
    ("chosen", "served"),
    [
        ("", ("default", "email", "mails", "parcels")),
        # Workers that serve a queue also serve the queue's former name.
        ("email", ("email", "mails")),
        ("parcels, email", ("parcels", "email", "mails")),
        # If other contracts use the former name of a queue, workers of the renamed queue do not
        # serve it.
        ("parcels", ("parcels",)),
        ("-email", ("default", "mails", "parcels")),
        ("-email,-mails, -default", ("parcels",)),
    ],
)
def test_a_worker_serves_the_queues_that_its_setting_chooses(chosen: str, served: tuple[str, ...]) -> None:
    assert queue_names(chosen, TASKS) == served


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        (
            "emial",
            "OFTEN_WORKER_QUEUES names the queue 'emial', which no contract uses; known queues: default, "
            "email, mails, parcels",
        ),
        ("-emial", "OFTEN_WORKER_QUEUES names the queue 'emial', which no contract uses; known queues"),
        ("email,-default", "mixes queues to serve with queues to leave out (-default); write one kind"),
        ("-email,-mails,-default,-parcels", "leaves out every queue; known queues: default"),
    ],
)
def test_an_invalid_choice_of_queues_is_refused(chosen: str, says: str) -> None:
    with pytest.raises(SettingsError) as refused:
        queue_names(chosen, TASKS)
    assert says in str(refused.value)
