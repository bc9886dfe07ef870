"""Drills on a token: what sessions, logins, ids, handles and threads do, beside the plain road of a key."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from pkcs11 import Attribute
from pkcs11 import types as p11
from pkcs11.exceptions import PKCS11Error

from hsm.algorithms import Algorithm
from hsm.errors import HsmError
from hsm.faults import Fault, fault_of, rv_of
from hsm.findings import Finding, Grade, measure
from hsm.memos import read_memos, write_memo
from hsm.objects import handle_of
from hsm.pins import PinSource
from hsm.seat import Seat
from hsm.visits import LABEL, Template, Visit

SESSIONS: Final = 32
FEWEST: Final = 4
RANDOM_BYTES: Final = 32
MEMOS: Final = 5
WITHOUT_MEMOS: Final = "a journal key in this token needs token_anchor_every_s = 0"
GAIN: Final = 1.2
"""Threads together must be this much quicker than one before it is called a gain."""

Recipe = tuple[Algorithm, tuple[Template, Template]]


def draw_random(visit: Visit) -> Finding:
    """Two draws of the token's generator: there, and not the same."""
    try:
        draws = {visit.seat.draw_random(visit.task.token, RANDOM_BYTES) for _ in range(4)}
    except HsmError as error:
        return Finding("random", Grade.WARNING, f"{error.message}; possession proofs need C_GenerateRandom")
    if len(draws) != 4 or bytes(RANDOM_BYTES) in draws:
        return Finding("random", Grade.FAILING, "two draws of 32 bytes are the same, or all zero")
    return Finding("random", Grade.WELL, f"4 draws of {RANDOM_BYTES} bytes differ")


def drill_sessions(visit: Visit) -> Iterator[Finding]:
    """How many sessions there may be, whether they share the login, and what a lost one says."""
    opened: list[p11.Session] = []
    said = f"{SESSIONS} more opened"
    try:
        for _ in range(SESSIONS):
            opened.append(visit.session.token.open(rw=True))
    except PKCS11Error as error:
        said = f"{len(opened)} more opened, then {rv_of(error)}"
    grade = Grade.WELL if len(opened) >= FEWEST else Grade.WARNING
    yield Finding("sessions", grade, said, {"opened": len(opened)})
    if opened:
        yield _share_login(visit, opened[-1])
        yield _lose_session(visit, opened.pop())
    for session in opened:
        with suppress(PKCS11Error):
            session.close()
    yield _log_in_again(visit)


def _share_login(visit: Visit, session: p11.Session) -> Finding:
    try:
        shared = visit.module.is_logged_in(handle_of(session), "a second session")
    except HsmError as error:
        return Finding("login", Grade.FAILING, error.message)
    if shared:
        return Finding("login", Grade.WELL, "a second session is logged in with the first")
    return Finding("login", Grade.WARNING, "a second session must log in by itself: one session per process only")


def _lose_session(visit: Visit, session: p11.Session) -> Finding:
    """A closed session must be told from other faults: then a new one is opened and the work goes on."""
    handle = handle_of(session)
    session.close()
    try:
        visit.module.is_logged_in(handle, "a closed session")
    except HsmError as error:
        return _judge_loss("lost session", error.rv)
    return Finding("lost session", Grade.WARNING, "a closed session still answers")


def _judge_loss(check: str, rv: str) -> Finding:
    mends = fault_of(rv) in (Fault.RETRY, Fault.RELOAD)
    said = f"{rv}: {'a new session mends it' if mends else 'not told from other faults: the request fails'}"
    return Finding(check, Grade.WELL if mends else Grade.WARNING, said, {"rv": rv})


def _log_in_again(visit: Visit) -> Finding:
    """The right PIN once more. A token that takes it is no harm; one that counts it as wrong would be."""
    try:
        with PinSource.from_file(visit.task.pin_file).reveal() as pin:
            visit.module.login(handle_of(visit.session), pin, about="a second login")
    except HsmError as error:
        grade = Grade.WELL if error.rv == "CKR_USER_ALREADY_LOGGED_IN" else Grade.WARNING
        return Finding("second login", grade, error.rv or error.message)
    return Finding("second login", Grade.WELL, "taken as nothing new")


def drill_memos(visit: Visit) -> Iterator[Finding]:
    """Whether the token keeps a private data object, gives it back, and lets it be replaced and destroyed."""
    seat, token = visit.seat, visit.task.token
    samples: list[int] = []
    try:
        for number in range(MEMOS):
            before = visit.clock()
            write_memo(seat, token, LABEL, b"kedge doctor %d" % number)
            samples.append(int(1_000_000 * (visit.clock() - before)))
        read = read_memos(seat, token, LABEL)
    except HsmError as error:
        yield Finding("data objects", Grade.WARNING, f"{error.rv or error.message}; {WITHOUT_MEMOS}", {"rv": error.rv})
        return
    finally:
        visit.clean()
    if read != (b"kedge doctor %d" % (MEMOS - 1),):
        yield Finding("data objects", Grade.WARNING, f"{len(read)} objects after {MEMOS} writes; {WITHOUT_MEMOS}")
        return
    figures = measure(samples)
    said = f"kept and replaced; p50 {figures['p50_us'] / 1000:.1f} ms per replacement"
    yield Finding("data objects", Grade.WELL, said, figures)


def drill_ids(visit: Visit, recipe: Recipe) -> Iterator[Finding]:
    """Two keys with one id, an id changed under a key, and a handle whose object is gone."""
    try:
        key_id = visit.generate(recipe[0], *recipe[1])
    except HsmError as error:
        yield Finding("ids", Grade.UNKNOWN, f"no key to try with: {error.message}")
        return
    try:
        visit.generate(recipe[0], *recipe[1], key_id=key_id)
        said = f"allowed ({len(visit.objects(key_id))} objects have one id): Kedge looks before it makes a key"
    except HsmError as error:
        said = f"refused: {error.rv}"
    yield Finding("duplicate ids", Grade.WELL, said)
    yield _change_id(visit, key_id)
    visit.clean()
    yield _use_lost_handle(visit, recipe)


def _change_id(visit: Visit, key_id: bytes) -> Finding:
    """MODIFIABLE=false must keep the id where it is."""
    other = visit.draw_id()
    try:
        for item in visit.objects(key_id):
            if isinstance(item, p11.PrivateKey):
                item[Attribute.ID] = other
        moved = bool(visit.objects(other))
    except PKCS11Error as error:
        return Finding("id of a key", Grade.WELL, f"cannot be changed: {rv_of(error)}")
    if not moved:
        return Finding("id of a key", Grade.WELL, "cannot be changed")
    return Finding("id of a key", Grade.WARNING, "can be changed in spite of CKA_MODIFIABLE=false; Kedge would see it")


def _use_lost_handle(visit: Visit, recipe: Recipe) -> Finding:
    try:
        key_id = visit.generate(recipe[0], *recipe[1])
        signer = visit.open(key_id)
        visit.destroy(key_id)
        signer.sign(b"kedge doctor", "a destroyed key")
    except HsmError as error:
        return _judge_loss("lost object", error.rv or error.code)
    except ValueError as error:
        return Finding("lost object", Grade.UNKNOWN, f"no key to try with: {error}")
    return Finding("lost object", Grade.WARNING, "the handle of a destroyed key still signs in its session")


class _Signing(threading.Thread):
    """One thread with a session of its own, signing as often as it is told."""

    def __init__(self, visit: Visit, key_id: bytes, seat: Seat) -> None:
        super().__init__(daemon=True)
        self._visit, self._key_id, self._seat = visit, key_id, seat
        self.samples_us: list[int] = []
        self.failure = ""

    def run(self) -> None:
        clock = self._visit.clock
        try:
            signer = self._visit.open(self._key_id, self._seat)
            end = clock() + self._visit.task.seconds
            while clock() < end or not self.samples_us:
                before = clock()
                signer.sign(b"kedge doctor", "parallel")
                self.samples_us.append(int(1_000_000 * (clock() - before)))
        except (HsmError, ValueError, PKCS11Error) as error:
            self.failure = str(error) or type(error).__name__
        finally:
            self._seat.forget(self._visit.task.token)


def drill_threads(visit: Visit, recipe: Recipe) -> Finding:
    """Several threads sign at once, each in its session; compared with one alone."""
    try:
        key_id = visit.generate(recipe[0], *recipe[1])
    except HsmError as error:
        return Finding("parallel", Grade.UNKNOWN, f"no key to try with: {error.message}")
    alone, together = _race(visit, key_id, 1), _race(visit, key_id, visit.task.threads)
    failures = sorted({thread.failure for thread in (*alone, *together) if thread.failure})
    rates = [sum(len(t.samples_us) for t in group) / visit.task.seconds for group in (alone, together)]
    visit.destroy(key_id)
    figures = {
        "threads": visit.task.threads,
        "rate_alone": round(rates[0]),
        "rate_together": round(rates[1]),
        **measure([us for thread in together for us in thread.samples_us]),
    }
    if failures:
        return Finding("parallel", Grade.WARNING, f"one thread only: {'; '.join(failures)[:300]}", figures)
    word = "a gain" if rates[1] > GAIN * rates[0] else "no gain"
    said = f"{visit.task.threads} threads {rates[1]:.0f} signatures/s, one {rates[0]:.0f}/s: {word}"
    return Finding("parallel", Grade.WELL, said, figures)


def _race(visit: Visit, key_id: bytes, count: int) -> list[_Signing]:
    threads = [_Signing(visit, key_id, visit.sit()) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return threads
