import threading
import time

from hsm.gate import Gate


def test_alone_waits_for_calls_and_holds_back_new_ones() -> None:
    gate, order = Gate(), []
    gate.enter()

    def reload() -> None:
        with gate.alone():
            order.append("alone")
            time.sleep(0.05)
            order.append("done")

    def call() -> None:
        gate.enter()
        order.append("call")
        gate.leave()

    reloading = threading.Thread(target=reload)
    reloading.start()
    time.sleep(0.05)
    late = threading.Thread(target=call)
    late.start()
    time.sleep(0.05)
    order.append("first leaves")
    gate.leave()
    reloading.join(5)
    late.join(5)
    assert order == ["first leaves", "alone", "done", "call"]


def test_two_reloads_follow_each_other() -> None:
    gate, inside, most = Gate(), 0, 0

    def reload() -> None:
        nonlocal inside, most
        with gate.alone():
            inside += 1
            most = max(most, inside)
            time.sleep(0.01)
            inside -= 1

    threads = [threading.Thread(target=reload) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert (inside, most) == (0, 1)
    gate.enter()
    gate.leave()
