"""A visit to somebody's token: a session, keys that the visitor made and knows by their ids, and nothing left behind.

Ids begin with a mark and the visit's number, so that a visit never touches what is not its own, and a later one finds
what a crash left.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
from pkcs11 import Attribute
from pkcs11 import types as p11
from pkcs11.constants import DEFAULT

from hsm.algorithms import Algorithm
from hsm.errors import HsmError
from hsm.keys import KeyPair, find_pair
from hsm.module import Module
from hsm.objects import find_objects, handle_of, read_object
from hsm.pins import PinSource
from hsm.seat import Register, Seat
from hsm.signer import Signer
from hsm.templates import CAPABILITIES
from hsm.tokens import TokenSettings

MARK: Final = b"doctor"
LABEL: Final = "kedge doctor: may be deleted"
NUMBER_BYTES: Final = 8

Template = Mapping[Attribute, Any]

# What python-pkcs11 would add by itself: absent unless a template of ours names it.
_PUBLIC_DEFAULTS: Final = (Attribute.ENCRYPT, Attribute.WRAP, Attribute.VERIFY)
_PRIVATE_DEFAULTS: Final = (
    Attribute.PRIVATE, Attribute.SENSITIVE, Attribute.DECRYPT, Attribute.UNWRAP, Attribute.SIGN, Attribute.DERIVE,
)  # fmt: skip


class Task(msgspec.Struct, frozen=True):
    """Which token is examined, and how hard.

    parameters: what C_Initialize gets as its reserved argument. number: 8 random bytes, new for each visit.
    threads: how many sign at once; 1 leaves that out. seconds: how long each operation is measured.
    """

    module: Path
    token: str
    pin_file: Path
    number: bytes
    parameters: str = ""
    threads: int = 4
    seconds: float = 1.0


class Visit:
    """An open, logged-in session with a token, and the ids of this visit."""

    def __init__(self, task: Task, module: Module, clock: Callable[[], float] = time.monotonic) -> None:
        self.task = task
        self.module = module
        self.clock = clock
        self._register = Register({task.token: TokenSettings(task.token, PinSource.from_file(task.pin_file))})
        self._prefix = MARK + task.number
        self._count = 0
        self.seat = self.sit()
        self.session = self.seat.session(task.token)

    def sit(self) -> Seat:
        """A place of its own for the calling thread."""
        return Seat(self.module, self._register, self.clock, 0)

    def draw_id(self) -> bytes:
        """A CKA_ID that nobody else has: mark, number of the visit, number of the key."""
        self._count += 1
        return self._prefix + self._count.to_bytes(2, "big")

    def generate(self, algorithm: Algorithm, public: Template, private: Template, key_id: bytes = b"") -> bytes:
        """Make a key pair with exactly these attributes beside class, id and label; its id.

        Raises what the token refuses. What it left all the same is removed by `clean`.
        """
        key_id = key_id or self.draw_id()
        with self.seat.calling("C_GenerateKeyPair", algorithm.name):
            self.session.generate_keypair(
                algorithm.key_type,
                id=key_id,
                label=LABEL,
                store=True,
                capabilities=CAPABILITIES,
                mechanism=algorithm.generation,
                public_template={**dict.fromkeys(_PUBLIC_DEFAULTS, DEFAULT), **public},
                private_template={**dict.fromkeys(_PRIVATE_DEFAULTS, DEFAULT), **private},
            )
        return key_id

    def find(self, key_id: bytes) -> KeyPair:
        """The one pair with an id. Raises KeyNotFound, KeyAmbiguous."""
        return find_pair(self.session, key_id, f"key {key_id.hex()}")

    def open(self, key_id: bytes, seat: Seat | None = None) -> Signer:
        """A key for signing, in the session of a thread. Its attributes are not judged here."""
        session = (seat or self.seat).session(self.task.token)
        return Signer(self.module, handle_of(session), find_pair(session, key_id, f"key {key_id.hex()}"))

    def objects(self, key_id: bytes) -> list[p11.Object]:
        """All objects with an id, of any class."""
        return find_objects(self.session, key_id)

    def destroy(self, key_id: bytes) -> None:
        """Destroy every object with an id of this visit, and look again."""
        self.seat.destroy(self.task.token, key_id)

    def clean(self, *, whose: bytes = b"") -> int:
        """Destroy what visits left, `whose` prefix of ids it is; how many objects. Only what bears mark and label."""
        prefix = whose or self._prefix
        left = 0
        with self.seat.calling("C_FindObjects", f"token {self.task.token}"):
            mine = [item for item in find_objects(self.session) if is_of_visit(item, prefix)]
        for item in mine:
            with suppress(HsmError), self.seat.calling("C_DestroyObject", f"token {self.task.token}"):
                item.destroy()
                left += 1
        return left


def is_of_visit(item: p11.Object, prefix: bytes) -> bool:
    """Whether a visit made the object: by its id, and by its label where the token keeps one. Data has no id."""
    stored = read_object(item)
    if stored.kind == "data":
        return stored.label == LABEL
    return stored.id.startswith(prefix) and stored.label in (LABEL, "")
