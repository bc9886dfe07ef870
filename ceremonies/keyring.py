"""Keys as the journal knows them: state, purpose, uses. One key has one purpose (SP 800-57 part 1, section 5.2)."""

from collections.abc import Iterable, Iterator

import msgspec

from ceremonies.errors import KeyroomError

# Which kinds of draft a role may sign. What is not here is refused, in the keyroom, whatever a policy says.
KINDS: dict[str, frozenset[str]] = {
    "identity-root": frozenset(
        {
            "certificate.identity-root",
            "certificate.root-link",
            "certificate.device-ca",
            "certificate.site-ca",
            "certificate.service-ca",
            "crl",
        }
    ),
    "device-ca": frozenset(
        {
            "certificate.idevid",
            "certificate.ieee2030-5-device",
            "certificate.ocsp-responder",
            "certificate.cmp-responder",
            "certificate-request",
            "crl",
        }
    ),
    "site-ca": frozenset({"certificate.ldevid", "certificate.ocsp-responder", "crl"}),
    "service-ca": frozenset({"certificate.station-tls", "certificate.ocsp-responder", "crl"}),
    "ocsp": frozenset(),
    "cmp": frozenset(),
    "oem-root": frozenset({"trust-set"}),
    "recovery": frozenset({"trust-set"}),
    "manifest-signer": frozenset({"fw-manifest", "transition-index", "birth-package", "baseline", "quota-grant"}),
    "image-app": frozenset({"image.mcuboot"}),
    "counter": frozenset({"counter-update"}),
    "director": frozenset({"challenge"}),
    "journal": frozenset(),
    "probe": frozenset(),
}

ALGORITHMS: dict[str, frozenset[str]] = {
    "identity-root": frozenset({"p384"}),
    "journal": frozenset({"ed25519"}),
} | {role: frozenset({"p256"}) for role in KINDS if role not in ("identity-root", "journal")}

# SP 800-57 part 1, section 7: the only ways from state to state. A private signature key is never parked.
TRANSITIONS: dict[str, frozenset[str]] = {
    "pre-activation": frozenset({"active", "suspended", "destroyed"}),
    "active": frozenset({"suspended", "deactivated", "compromised", "destroyed"}),
    "suspended": frozenset({"active", "compromised", "destroyed"}),
    "deactivated": frozenset({"compromised", "destroyed"}),
    "compromised": frozenset({"destroyed"}),
    "destroyed": frozenset(),
}


class KeyUnknown(KeyroomError):
    """No key has this label or name."""

    code = "key-unknown"


class KeyNotActive(KeyroomError):
    """The key is in a state in which it may not sign."""

    code = "key-not-active"


class KeyPurposeRefused(KeyroomError):
    """The key's role may not sign this kind, or does not exist, or not with this algorithm."""

    code = "key-purpose-refused"


class KeyTransitionRefused(KeyroomError):
    """There is no way from the key's state to the one asked for."""

    code = "key-transition-refused"


class KeyEntry(msgspec.Struct, frozen=True):
    """A key without its secret. `uses` is the last count given out.

    cka_id and thumbprint (COSE Key Thumbprint, RFC 9679) are hex.
    """

    spki: str
    label: str
    role: str
    scope: str
    algorithm: str
    token: str
    token_serial: str
    cka_id: str
    thumbprint: str
    state: str
    uses: int

    @property
    def fields(self) -> dict[str, object]:
        """The element of a leaf's `keys`, without `kctr`."""
        return {"id": self.cka_id, "label": self.label, "spki": self.spki, "token": self.token_serial}


class Keyring:
    """All keys by name and by label. Changed by the door alone, after the commit that records the change."""

    def __init__(self, entries: Iterable[KeyEntry]) -> None:
        self._entries = {entry.spki: entry for entry in entries}

    def __iter__(self) -> Iterator[KeyEntry]:
        return iter(tuple(self._entries.values()))

    def __contains__(self, spki: object) -> bool:
        """Whether a key of this name is, or was, held here."""
        return spki in self._entries

    def get(self, spki: str) -> KeyEntry:
        """The key of this name. Raises KeyUnknown."""
        entry = self._entries.get(spki)
        if entry is None:
            raise KeyUnknown(f"no key {spki[:16]}", hint="list the keys (`kedge key list`)")
        return entry

    def labelled(self, label: str) -> KeyEntry:
        """The key of this label. Raises KeyUnknown."""
        for entry in self._entries.values():
            if entry.label == label:
                return entry
        raise KeyUnknown(f"no key has the label {label}", hint="list the keys (`kedge key list`)")

    def active(self, role: str, scope: str = "") -> tuple[KeyEntry, ...]:
        """The active keys of a role, oldest label first; of one scope when that is given."""
        found = (e for e in self._entries.values() if e.role == role and e.state == "active" and scope in ("", e.scope))
        return tuple(sorted(found, key=lambda entry: entry.label))

    def put(self, entry: KeyEntry) -> None:
        """A new key, or a key's new form."""
        self._entries[entry.spki] = entry


def check_may_sign(entry: KeyEntry, kind: str) -> None:
    """Raises KeyPurposeRefused or KeyNotActive unless this key may sign this kind now."""
    if kind not in KINDS.get(entry.role, frozenset()):
        raise KeyPurposeRefused(f"key {entry.label} ({entry.role}) never signs {kind}", hint="one key, one purpose")
    if entry.state != "active":
        raise KeyNotActive(f"key {entry.label} is {entry.state}", hint="only an active key signs")


def check_transition(entry: KeyEntry, state: str) -> None:
    """Raises KeyTransitionRefused unless the key may go to `state`."""
    if state not in TRANSITIONS[entry.state]:
        raise KeyTransitionRefused(
            f"key {entry.label} is {entry.state} and cannot become {state}",
            hint=f"from {entry.state}: {', '.join(sorted(TRANSITIONS[entry.state])) or 'nothing'}",
        )


def check_plan(role: str, algorithm: str) -> None:
    """Raises KeyPurposeRefused unless a key of this role may exist with this algorithm."""
    if algorithm not in ALGORITHMS.get(role, frozenset()):
        raise KeyPurposeRefused(
            f"no {role} key with algorithm {algorithm}",
            hint=f"roles: {', '.join(sorted(KINDS))}; identity-root is p384, journal ed25519, all others p256",
        )
