from __future__ import annotations

import threading

from pipelines.ingest.turns import Turns


def test_places_are_given_out_in_order() -> None:
    """One that needs all places gets them, although others that need one keep coming."""
    turns, order = Turns(2), []
    entered, leave = threading.Event(), threading.Event()

    def hold(name: str, places: int, *, until: threading.Event | None = None) -> None:
        with turns.take(places):
            order.append(name)
            entered.set()
            if until is not None:
                until.wait()

    first = threading.Thread(target=hold, args=("first", 1), kwargs={"until": leave})
    first.start()
    entered.wait()
    later = [threading.Thread(target=hold, args=("large", 2)), threading.Thread(target=hold, args=("small", 1))]
    later[0].start()
    while not turns._first.locked():  # until it waits for its places
        pass
    later[1].start()
    later[1].join(0.1)
    assert order == ["first"]
    leave.set()
    for thread in (first, *later):
        thread.join()
    assert order == ["first", "large", "small"]
