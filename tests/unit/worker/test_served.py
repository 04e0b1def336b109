from services.worker.claims.served import Served


def test_a_paused_queue_is_left_out_until_it_is_resumed() -> None:
    served = Served(["email", "payments"])
    assert served.follow(["payments", "elsewhere"], quiet=False) == {"payments"}
    assert (served.open, served.paused_here) == (("email",), ("payments",))
    assert served.follow(["payments"], quiet=False) == frozenset()
    assert served.follow([], quiet=False) == frozenset()
    assert served.open == ("email", "payments")


def test_a_quiet_worker_takes_nothing_not_even_past_a_pause() -> None:
    served = Served(["email", "payments"])
    assert served.follow(["payments"], quiet=True) == {"email", "payments"}
    assert (served.open, served.paused_here) == ((), ())
