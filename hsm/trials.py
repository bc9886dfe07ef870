"""An algorithm on trial: can the token make, keep, use and destroy such a key as the strongbox wants it?"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from pkcs11 import Attribute, Mechanism
from pkcs11 import types as p11
from pkcs11.exceptions import PKCS11Error

from hsm.algorithms import Algorithm
from hsm.errors import HsmError
from hsm.findings import Finding, Grade, measure
from hsm.objects import StoredObject
from hsm.templates import PRIVATE_FLAGS, PROVENANCE, PUBLIC_FLAGS, find_deviations, name_attribute, private_template
from hsm.templates import public_template as full_public_template
from hsm.visits import Template, Visit

NEEDED: Final = {"p256": Grade.FAILING, "p384": Grade.WARNING, "ed25519": Grade.WARNING}
"""How grave it is when a token has not got the algorithm."""
_WITHOUT: Final = {
    "p384": "keys of 192-bit strength need another token",
    "ed25519": "the journal key needs a token that has it",
}
_BASE_PUBLIC: Final = (Attribute.TOKEN, Attribute.VERIFY)
_BASE_PRIVATE: Final = (Attribute.TOKEN, Attribute.PRIVATE, Attribute.SIGN)
MAX_SAMPLES: Final = 200
MAX_KEYS: Final = 5

Works = Callable[[Template, Template], bool]


def try_algorithm(visit: Visit, algorithm: Algorithm, mechanisms: set[int]) -> Iterator[Finding]:
    """Mechanisms, template, attributes, signature, verification, latency, destruction of one algorithm."""
    name = algorithm.name
    missing = [str(item.name) for item in (algorithm.generation, algorithm.mechanism) if item not in mechanisms]
    if missing:
        said = f"the token has no CKM_{' and no CKM_'.join(missing)}"
        yield Finding(f"{name} mechanisms", NEEDED[name], "; ".join(filter(None, (said, _WITHOUT.get(name)))))
        return
    yield Finding(f"{name} mechanisms", Grade.WELL, f"CKM_{algorithm.generation.name}, CKM_{algorithm.mechanism.name}")
    public, private = full_public_template(algorithm), private_template()
    try:
        key_id = visit.generate(algorithm, public, private)
        refused: list[str] = []
        yield Finding(f"{name} template", Grade.WELL, "taken as a whole")
    except HsmError as error:
        found, key_id = _narrow(visit, algorithm, error)
        refused = found.figures.get("refused", [])
        yield found
        if not key_id:
            return
    yield from _examine_key(visit, algorithm, key_id, refused)


def _examine_key(visit: Visit, algorithm: Algorithm, key_id: bytes, refused: list[str]) -> Iterator[Finding]:
    name = algorithm.name
    try:
        pair = visit.find(key_id)
    except HsmError as error:
        yield Finding(f"{name} attributes", Grade.FAILING, f"the new key is not found by its CKA_ID: {error.message}")
        return
    yield _judge_attributes(name, "private", pair.private, PRIVATE_FLAGS | PROVENANCE, refused)
    yield _judge_attributes(name, "public", pair.public, PUBLIC_FLAGS, refused)
    if not pair.public.public_key:
        yield Finding(f"{name} sign", Grade.FAILING, "the public key cannot be read (CKA_EC_PARAMS, CKA_EC_POINT)")
    else:
        yield from _use(visit, algorithm, key_id)
    yield _destroy(visit, algorithm, key_id)


def _narrow(visit: Visit, algorithm: Algorithm, first: HsmError) -> tuple[Finding, bytes]:
    """Which attributes the token refuses, each asked alone, and a key without them; no id when there is none."""
    public, private = full_public_template(algorithm), private_template()

    def works(wanted_public: Template, wanted_private: Template) -> bool:
        with suppress(HsmError):
            visit.destroy(visit.generate(algorithm, wanted_public, wanted_private))
            return True
        return False

    base = {**{a: public[a] for a in _BASE_PUBLIC}, Attribute.EC_PARAMS: algorithm.parameters[0]}
    base_private = {a: private[a] for a in _BASE_PRIVATE}
    check = f"{algorithm.name} template"
    if not works(base, base_private):
        said = f"no key can be made, whatever the template: {first.rv or first.message}"
        return Finding(check, NEEDED[algorithm.name], said), b""
    bad_public = [a for a, v in public.items() if a not in base and not works({**base, a: v}, base_private)]
    bad = [a for a, v in private.items() if a not in base_private and not works(base, {**base_private, a: v})]
    refused = [f"public {name_attribute(a)}" for a in bad_public] + [f"private {name_attribute(a)}" for a in bad]
    said = f"refused ({first.rv}); taken without {', '.join(refused) or 'any one attribute, but not as a whole'}"
    figures = {"refused": refused, "rv": first.rv}
    try:
        key_id = visit.generate(
            algorithm,
            {a: v for a, v in public.items() if a not in bad_public},
            {a: v for a, v in private.items() if a not in bad},
        )
    except HsmError as error:
        return Finding(check, Grade.FAILING, f"{said}; the rest together: {error.rv or error.message}", figures), b""
    return Finding(check, Grade.FAILING, said, figures), key_id


def _judge_attributes(
    name: str, half: str, stored: StoredObject, wanted: Mapping[Attribute, bool], refused: list[str]
) -> Finding:
    """Each attribute as it reads. A key that reads otherwise is not used by the strongbox, so that fails."""
    figures: dict[str, Any] = {
        name_attribute(attribute): {
            "asked": value,
            "settable": attribute in PROVENANCE or f"{half} {name_attribute(attribute)}" not in refused,
            "read": stored.attributes.get(name_attribute(attribute)),
        }
        for attribute, value in wanted.items()
    }
    check = f"{name} {half} attributes"
    if deviations := find_deviations(stored.attributes, wanted):
        said = f"read otherwise: {', '.join(deviations)}; Kedge makes no such key"
        return Finding(check, Grade.FAILING, said, figures)
    return Finding(check, Grade.WELL, f"all {len(wanted)} read as asked", figures)


def _use(visit: Visit, algorithm: Algorithm, key_id: bytes) -> Iterator[Finding]:
    """Sign, verify in software and in the token, measure."""
    name, data = algorithm.name, b"kedge doctor v1\n" + key_id
    try:
        signer = visit.open(key_id)
        signature = signer.sign(data, name)
        samples: list[int] = []
        end = visit.clock() + visit.task.seconds
        while len(samples) < MAX_SAMPLES and (visit.clock() < end or not samples):
            before = visit.clock()
            signer.sign(data, name)
            samples.append(int(1_000_000 * (visit.clock() - before)))
    except (HsmError, ValueError) as error:
        yield Finding(f"{name} sign", Grade.FAILING, str(error))
        return
    figures = measure(samples)
    said = f"verified in software; p50 {figures['p50_us'] / 1000:.2f} ms, p99 {figures['p99_us'] / 1000:.2f} ms"
    yield Finding(f"{name} sign", Grade.WELL, said, figures)
    yield _verify_inside(visit, algorithm, key_id, (data, signature))


def _verify_inside(visit: Visit, algorithm: Algorithm, key_id: bytes, signed: tuple[bytes, bytes]) -> Finding:
    """The token's own C_Verify, over the right data and over other data. Kedge does without it."""
    check = f"{algorithm.name} verify"
    data, signature = signed
    public = next((item for item in visit.objects(key_id) if isinstance(item, p11.VerifyMixin)), None)
    if public is None:
        return Finding(check, Grade.WARNING, "the public key may not verify inside; Kedge verifies in software")
    try:
        mechanism: Mechanism = algorithm.mechanism
        right = public.verify(algorithm.prepare(data), signature, mechanism=mechanism)
        wrong = public.verify(algorithm.prepare(data + b"x"), signature, mechanism=mechanism)
    except (PKCS11Error, InvalidSignature, NotImplementedError) as error:
        said = f"C_Verify fails: {type(error).__name__}; Kedge verifies in software"
        return Finding(check, Grade.WARNING, said)
    if right and not wrong:
        return Finding(check, Grade.WELL, "the token accepts its signature, and refuses other data")
    return Finding(check, Grade.FAILING, f"C_Verify says {right} to the signature and {wrong} to other data")


def _destroy(visit: Visit, algorithm: Algorithm, key_id: bytes) -> Finding:
    check = f"{algorithm.name} destroy"
    try:
        visit.destroy(key_id)
    except HsmError as error:
        return Finding(check, Grade.FAILING, f"{error.message}: remove key {key_id.hex()} by hand")
    return Finding(check, Grade.WELL, "both objects are gone")


def measure_generation(visit: Visit, algorithm: Algorithm, templates: tuple[Template, Template]) -> Finding:
    """How long a new key takes, over at most five."""
    samples: list[int] = []
    end = visit.clock() + visit.task.seconds
    try:
        while len(samples) < MAX_KEYS and (visit.clock() < end or not samples):
            before = visit.clock()
            key_id = visit.generate(algorithm, *templates)
            samples.append(int(1_000_000 * (visit.clock() - before)))
            visit.destroy(key_id)
    except HsmError as error:
        return Finding("generation", Grade.FAILING, str(error))
    figures = measure(samples)
    return Finding("generation", Grade.WELL, f"p50 {figures['p50_us'] / 1000:.2f} ms per key pair", figures)
