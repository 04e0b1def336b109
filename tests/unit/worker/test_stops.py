from services.worker.claims.stops import MAX_REST_S, YOUNG_S, Stops


def waiting_since(at: float) -> Stops:
    stops = Stops()
    stops.note(at, suspects=True, stops=False)
    return stops


def test_a_worker_whose_bodies_are_young_stops_for_a_suspect() -> None:
    assert waiting_since(100).may_stop(100, oldest_s=YOUNG_S)


def test_a_worker_with_a_long_body_works_on_until_the_suspect_has_waited_for_longer() -> None:
    stops = waiting_since(100)
    assert not stops.may_stop(100, oldest_s=60)
    # The oldest body began before the suspect arrived, so it has always run for longer than the
    # suspect has waited. The worker does not stop.
    assert not any(stops.may_stop(100 + s, oldest_s=60 + s) for s in range(100))
    # A later body has run for a shorter time than the suspect has waited, so the worker stops
    # fetching.
    assert stops.may_stop(170, oldest_s=65)


def test_after_a_stop_ordinary_work_has_the_worker_for_as_long() -> None:
    stops = waiting_since(100)
    stops.note(100, suspects=True, stops=True)
    stops.note(104, suspects=True, stops=True)
    stops.resume(106)
    assert not stops.may_stop(111.9, oldest_s=0)
    assert stops.may_stop(112, oldest_s=0)


def test_a_worker_that_gives_up_a_stop_rests_too_but_never_for_long() -> None:
    stops = waiting_since(100)
    stops.note(100, suspects=True, stops=True)
    stops.note(160, suspects=True, stops=False)
    assert not stops.may_stop(160 + MAX_REST_S - 0.1, oldest_s=0)
    assert stops.may_stop(160 + MAX_REST_S, oldest_s=0)


def test_the_next_suspect_waits_from_its_own_arrival() -> None:
    stops = waiting_since(100)
    stops.note(200, suspects=False, stops=False)
    stops.note(300, suspects=True, stops=False)
    assert not stops.may_stop(301, oldest_s=60)
