"""General messages (RFC 9483 section 4.3): the CA's certificates, the root that follows, what a request should say."""

from collections.abc import Mapping

from pki.cmp.bodies import Question
from pki.cmp.errors import MessageMalformed, MessageUnsupported
from pki.cmp.replies import (
    CA_CERTS,
    CERT_REQ_TEMPLATE,
    ROOT_CA_CERT,
    describe_request,
    list_authorities,
    update_root,
)
from pki.x509.errors import DerMalformed
from pki.x509.tbs import Tbs, read_tbs, read_time, split_signed


def answer_question(question: Question, authorities: Mapping[str, bytes], label: str) -> bytes:
    """The body that answers. authorities: CA certificates (DER) by label, link certificates among them.

    Raises MessageUnsupported, MessageMalformed.
    """
    read = {name: (der, read_tbs(split_signed(der)[0])) for name, der in authorities.items()}
    if question.kind == CA_CERTS and not question.value and label in read:
        return list_authorities([der for der, _ in find_chain(read, label)])
    if question.kind == CERT_REQ_TEMPLATE and not question.value:
        return describe_request()
    if question.kind == ROOT_CA_CERT and question.value:
        return _update(question.value, list(read.values()))
    raise MessageUnsupported("this general message is not answered", hint="ask caCerts, rootCaCert, certReqTemplate")


def find_chain(read: Mapping[str, tuple[bytes, Tbs]], label: str) -> list[tuple[bytes, Tbs]]:
    """A CA's certificate, and those above it."""
    chain, others = [read[label]], [item for name, item in read.items() if name != label]
    for _, below in chain:
        above = [item for item in others if item[1].subject == below.issuer]
        others = [item for item in others if item not in above]
        chain += above
    return chain


def _update(shown: bytes, known: list[tuple[bytes, Tbs]]) -> bytes:
    """The newest root, where it follows the one that was shown, and what links the two."""
    try:
        old = read_tbs(split_signed(shown)[0])
        since = read_time(old.not_before)
    except DerMalformed as error:
        raise MessageMalformed("the root that was shown is no certificate") from error
    begun = {item: read_time(item[1].not_before) for item in known if item[1].subject == item[1].issuer}
    newest, new = max(begun, key=lambda item: begun[item], default=(shown, old))
    if newest == shown or begun[newest, new] < since:
        return update_root(b"", b"", b"")
    return update_root(newest, _link(known, new, old), _link(known, old, new))


def _link(known: list[tuple[bytes, Tbs]], of: Tbs, by: Tbs) -> bytes:
    """The certificate of one root's key by the other; empty when there is none."""
    links = [item for item in known if item[1].subject != item[1].issuer]
    return next((der for der, tbs in links if (tbs.public_key, tbs.issuer) == (of.public_key, by.subject)), b"")
