"""Pure functions of the rule book with a memory: histories meet the same signatures and messages very often."""

from functools import lru_cache

import pytest

import pki.trust.cose
import pki.trust.counters
import pki.trust.links
import pki.trust.manifests
from pki.signatures import verify_raw
from pki.trust.authority import open_sign
from pki.trust.links import parse_set

_verify = lru_cache(maxsize=1 << 17)(verify_raw)
_open = lru_cache(maxsize=1 << 14)(open_sign)
_parse = lru_cache(maxsize=1 << 14)(parse_set)


def remember(patch: pytest.MonkeyPatch) -> None:
    """The same code and the same verdicts, computed once; a refusal is computed every time."""
    patch.setattr(pki.trust.cose, "verify_raw", _verify)
    patch.setattr(pki.trust.counters, "open_sign", _open)
    patch.setattr(pki.trust.manifests, "open_sign", _open)
    patch.setattr(pki.trust.links, "parse_set", _parse)
    patch.setattr("pki.trust.device_receive.parse_set", _parse)
