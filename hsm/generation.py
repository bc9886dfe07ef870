"""Making a key: generated with the full template, read back, compared, and seen to sign."""

from typing import Final

from hsm.algorithms import ALGORITHMS, Algorithm
from hsm.errors import KeyAltered, RequestInvalid
from hsm.keys import MAX_LABEL_BYTES, GeneratedKey, KeyName, check_key_id, describe_key
from hsm.seat import Seat
from hsm.templates import CAPABILITIES, PUBLIC_FLAGS, find_deviations, private_template, public_template

CHALLENGE_PREFIX: Final = b"kedge proof of possession v1\n"
CHALLENGE_BYTES: Final = 32


def check_request(key_id: bytes, label: str, algorithm: str) -> Algorithm:
    """The algorithm of a request for a new key. Raises RequestInvalid."""
    check_key_id(key_id)
    if not 0 < len(label.encode()) <= MAX_LABEL_BYTES or not label.isprintable():
        raise RequestInvalid(f"key label {label!r} does not fit", hint=f"use 1 to {MAX_LABEL_BYTES} printable bytes")
    if algorithm not in ALGORITHMS:
        raise RequestInvalid(f"algorithm {algorithm!r} is unknown", hint=f"use one of {', '.join(ALGORITHMS)}")
    return ALGORITHMS[algorithm]


def generate_key(seat: Seat, token: str, key_id: bytes, label: str, algorithm: Algorithm) -> GeneratedKey:
    """Generate a key pair, read its attributes back, and sign a random challenge with it.

    The challenge begins with a prefix that no document of Kedge has. Raises ForeignKey, KeyAltered (the token did not
    keep the template), SignatureMismatch. The caller destroys what is left of a failure.
    """
    about = describe_key(token, key_id, label)
    session = seat.session(token)
    with seat.calling("C_GenerateKeyPair", about):
        session.generate_keypair(
            algorithm.key_type,
            id=key_id,
            label=label,
            store=True,
            capabilities=CAPABILITIES,
            mechanism=algorithm.generation,
            public_template=public_template(algorithm),
            private_template=private_template(),
        )
    opened = seat.open_key(token, key_id, about)
    if altered := find_deviations(opened.pair.public.attributes, PUBLIC_FLAGS):
        raise KeyAltered(f"{about}, public key: {', '.join(altered)}", hint="the token does not keep the template")
    if opened.pair.public.algorithm != algorithm.name:
        raise KeyAltered(f"{about}: asked for {algorithm.name}, got {opened.pair.public.algorithm}")
    challenge = CHALLENGE_PREFIX + seat.draw_random(token, CHALLENGE_BYTES)
    with seat.calling("C_Sign", about):
        proof = opened.sign(challenge, about)
    return GeneratedKey(
        name=KeyName(token=token, id=key_id, spki=opened.spki, label=label),
        public_key=opened.pair.public.public_key,
        algorithm=algorithm.name,
        token_serial=session.token.serial.decode("ascii", "replace"),
        attributes=opened.pair.private.attributes,
        challenge=challenge,
        proof=proof,
    )
