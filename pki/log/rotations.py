"""The keys of a journal that follow each other, as its own entries tell (`log.key.rotate`).

Whoever believes the head of a journal believes its entries, and so the key that they name as that of before:
checkpoints from before the change are then verified with it. The head itself is never believed this way.
"""

import msgspec

from pki.log.errors import VerifierKeyInvalid
from pki.log.leaves import Leaf
from pki.log.notes import LOG_KEY, VerifierKey, parse_vkey
from pki.log.policy import TrustPolicy

ROTATE = "log.key.rotate"


class LogKeys:
    """The verifier keys that the rotations among these entries name, old and new."""

    def __init__(self) -> None:
        self._named: dict[VerifierKey, None] = {}

    def take(self, leaf: Leaf) -> None:
        """Follow one entry. What is no key of this journal is ignored: nothing is verified with it then."""
        if leaf.type != ROTATE or not leaf.op or not leaf.op.what:
            return
        for name in ("old", "new"):
            try:
                key = parse_vkey(str(leaf.op.what.get(name)))
            except VerifierKeyInvalid:
                continue
            if (key.name, key.kind) == (leaf.log, LOG_KEY):
                self._named[key] = None

    def widen(self, policy: TrustPolicy | None) -> TrustPolicy | None:
        """The policy with these keys beside those that it lists; its quorum stays."""
        if policy is None:
            return None
        listed = {key.public_key for key in policy.logs}
        more = tuple(key for key in self._named if key.public_key not in listed)
        return msgspec.structs.replace(policy, logs=(*policy.logs, *more))
