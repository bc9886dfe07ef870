"""Messages of CMP, read by pyasn1 with the modules of RFC 9480: another decoder, which is strict DER here, too.

Ours reads octets where pyasn1 has the standard's modules. So both must find the same in what openssl sends, and pyasn1
must find in our answers what we say.
"""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pki.cmp import replies
from pki.cmp.messages import parse_message
from pki.cmp.replies import Reply, assemble_answer, write_answer, write_unsigned_error
from tests.pki.cmp.test_replies import ASKED, RESPONDER, SENDER, STAMP, make_signer
from tests.pki.cmp.vectors import MESSAGES

PYTHON = Path(__file__).parents[2] / ".tools/py/bin/python"
READER = """
import json, sys
from pyasn1.codec.der.decoder import decode
from pyasn1.codec.der.encoder import encode
from pyasn1_alt_modules import rfc9480

def read(der):
    message, rest = decode(der, asn1Spec=rfc9480.PKIMessage())
    assert not rest and encode(message) == der, "not the same in DER"
    header, body = message["header"], message["body"]
    found = {
        "kind": body.getName(), "version": int(header["pvno"]), "sender": encode(header["sender"]).hex(),
        "transaction": bytes(header["transactionID"]).hex(), "body": encode(body.getComponent()).hex(),
        "nonce": bytes(header["senderNonce"]).hex() if header["senderNonce"].isValue else "",
        "answered": bytes(header["recipNonce"]).hex() if header["recipNonce"].isValue else "",
        "time": str(header["messageTime"]) if header["messageTime"].isValue else "",
        "algorithm": encode(header["protectionAlg"]).hex() if header["protectionAlg"].isValue else "",
        "certificates": [encode(item).hex() for item in message["extraCerts"]] if message["extraCerts"].isValue else [],
    }
    if body.getName() in ("ip", "cp", "kup"):
        response = body.getComponent()["response"][0]
        found["id"], found["status"] = int(response["certReqId"]), int(response["status"]["status"])
        info = response["status"]
    elif body.getName() == "rp":
        info = body.getComponent()["status"][0]
        found["status"] = int(info["status"])
    elif body.getName() == "error":
        info = body.getComponent()["pKIStatusInfo"]
        found["status"] = int(info["status"])
    else:
        return found
    if info["statusString"].isValue:
        found["words"] = [str(item) for item in info["statusString"]]
        found["failure"] = [name for name, bit in info["failInfo"].namedValues.items()
                            if bit < len(info["failInfo"]) and info["failInfo"][bit]]
    return found

print(json.dumps([read(bytes.fromhex(item)) for item in json.load(sys.stdin)]))
"""


def read_all(messages: list[bytes]) -> list[dict[str, Any]]:
    """What pyasn1 reads in messages that it can encode again to the same octets."""
    given = json.dumps([item.hex() for item in messages])
    done = subprocess.run([PYTHON, "-c", READER], input=given, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.req("CA-11")
def test_both_read_the_same_in_what_openssl_sends() -> None:
    for message, read in zip(MESSAGES.values(), read_all(list(MESSAGES.values())), strict=True):
        ours = parse_message(message)
        header = ours.header
        assert (ours.kind, header.version, header.sender.hex()) == (read["kind"], read["version"], read["sender"])
        assert (header.transaction.hex(), header.nonce.hex()) == (read["transaction"], read["nonce"])
        assert (header.answered.hex(), header.algorithm.hex()) == (read["answered"], read["algorithm"][4:])
        assert f"{datetime.fromtimestamp(header.time, UTC):%Y%m%d%H%M%S}Z" == read["time"]
        assert read["body"].endswith(ours.body.hex())
        assert [item.hex() for item in ours.certificates] == read["certificates"]


def finish(reply: Reply) -> bytes:
    """A signed answer; the signature itself does not matter here."""
    part = write_answer(ASKED, reply, make_signer(), STAMP)
    return assemble_answer(
        part, bytes(31) + b"\x01" + bytes(31) + b"\x01", (RESPONDER.certificate, *reply.certificates)
    )


@pytest.mark.req("CA-11")
def test_our_answers_say_what_they_should() -> None:
    given = SENDER.certificate
    bodies: list[tuple[bytes, dict[str, Any]]] = [
        (replies.grant_certificate("ir", given, modified=False), {"kind": "ip", "id": 0, "status": 0}),
        (replies.grant_certificate("cr", given, modified=True), {"kind": "cp", "id": 0, "status": 1}),
        (replies.grant_certificate("p10cr", given, modified=True), {"kind": "cp", "id": -1, "status": 1}),
        (replies.grant_certificate("kur", given, modified=False), {"kind": "kup", "id": 0, "status": 0}),
        (replies.refuse("ir", 9, "ü"), {"kind": "ip", "status": 2, "words": ["ü"], "failure": ["badPOP"]}),
        (replies.refuse("rr", 4, "no"), {"kind": "rp", "status": 2, "words": ["no"], "failure": ["badCertId"]}),
        (replies.refuse("genm", 23, "no"), {"kind": "error", "status": 2, "failure": ["notAuthorized"]}),
        (replies.refuse("certConf", 26, "no"), {"kind": "error", "status": 2, "failure": ["duplicateCertReq"]}),
        (replies.confirm_revocation(), {"kind": "rp", "status": 0}),
        (replies.confirm(), {"kind": "pkiconf"}),
        (replies.list_authorities([given, RESPONDER.certificate]), {"kind": "genp"}),
        (replies.update_root(given, RESPONDER.certificate, b""), {"kind": "genp"}),
        (replies.update_root(b"", b"", b""), {"kind": "genp"}),
        (replies.describe_request(), {"kind": "genp"}),
    ]
    answers = [finish(Reply(body, (given,), implicit=bool(at % 2))) for at, (body, _) in enumerate(bodies)]
    for (_, expected), read in zip(bodies, read_all(answers), strict=True):
        assert expected.items() <= read.items()
        assert (read["transaction"], read["answered"]) == (ASKED.transaction.hex(), ASKED.nonce.hex())
        assert (read["nonce"], read["time"]) == (STAMP.nonce.hex(), "20261123070809Z")
        assert read["certificates"] == [RESPONDER.certificate.hex(), given.hex()]


def test_an_error_for_a_stranger() -> None:
    [read] = read_all([write_unsigned_error(ASKED, 20, "who?")])
    assert (read["kind"], read["failure"], read["words"]) == ("error", ["signerNotTrusted"], ["who?"])
    assert (read["algorithm"], read["nonce"], read["certificates"]) == ("", "", [])
