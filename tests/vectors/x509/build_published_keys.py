"""Writes published_keys.json: the public halves of keys whose private half is published, with where that is.

Coordinates (hex) are facts taken from the named documents and from github.com/mcu-tools/mcuboot at commit
2d4bacc3c15ebb6f91c28807fe6eb38b4ba98f77 (public halves only). Run from the repository root:
`python -m tests.vectors.x509.build_published_keys`.
"""

import base64
import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

FILE = Path(__file__).with_name("published_keys.json")
KEYS = (
    (
        "MCUboot root-ec-p256.pem",
        "2acb403ce8feed5ba44995a1a91daee8dbbe1937cd14fb2f245737e5953988d9",
        "94b9d65aebd7cdd5308ad6fe48b24a6a810ee5f07d8b6834cc3a6afc538efac1",
    ),
    (
        "MCUboot root-ec-p384.pem",
        "0c76caae723aa5e8f0d4f116b502ef77a11b936178c009267b3b409cee4985e0c94fe7f2ba976cf38265142cf50c7333",
        "4d32e79bd342cc955ae5e2f5f46e45e0ed20355caf523581d4dc9ce39e223efb3f2210da700337ada8f248fe3a6069a5",
    ),
    (
        "MCUboot enc-ec256-priv.pem",
        "8a44730094c98027310d23366be9699fcbc57cc8441a93e6ee7d86a6ae5e9372",
        "74d9e15a1c9b651a2b61412802738412973a2da2a0677702da671a4bddd771cc",
    ),
    (
        "MCUboot bad-keys/bad-ec-p256.pem",
        "717f44c4d8d97ec724a7a01dbad8cf8d526cbcfe9966429f2ec1a7469291fbd3",
        "a93bdfea9891ec92cf995e8ef448400d8d69cd97128d015722f1a526f14b242f",
    ),
    (
        "MCUboot testplan/mynewt/key_ec256.pem",
        "6e68617fd7e2c93db40a2c6db0d0cefe54b896adfc60878941e92d21c83e1d5e",
        "c377fd625fbbfbda10a75a23aafc01b5dc733d37c1458f903b66fd2b95669cc9",
    ),
    (
        "MCUboot testplan/mynewt/key_ec256_2.pem",
        "0efea324e530842a73107dd3ef25a500e6514cb2250b4abf24c1f2251d0f90f3",
        "12f9ecaaedf12984e9c05db08dc793cbc952d1d8d4a7394d40e9088b1d6d63d0",
    ),
    (
        "MCUboot cypress-test-ec-p256.pem",
        "ff36ba0d0127531a8e9b4bcaf4f82fb7d18706d162d57215acfbdf439ceaf749",
        "9a1a96febfa4234856bc05bf72a426c9ac6546cd366c5e30fafe2257c618f834",
    ),
    (
        "RFC 9500 section 2.3 testECCP256",
        "422548f88fb782ffb5eca3744452c72a1e558fbd6f73be5e48e93232cc45c5b1",
        "6c4cd10c4cb8d5b8a17139e94882c8992572993425f41419ab7e90a42a494272",
    ),
    (
        "RFC 9500 section 2.3 testECCP384",
        "5b0901b88523296eb919d50ffa1a9cb374bc4d409586282bfeca11b1d95adbb54734af570bf82b7228cf226bcf4c25dd",
        "bcfe3b1a3ad39430eff763e1d68d2e151d91720b7795b58da6b34639613a8fb9b5a8da48c6747117f9919e8424f37ec8",
    ),
    (
        "RFC 6979 appendix A.2.5",
        "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6",
        "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
    ),
    (
        "RFC 6979 appendix A.2.6",
        "ec3a4e415b4e19a4568618029f427fa5da9a8bc4ae92e02e06aae5286b300c64def8f0ea9055866064a254515480bc13",
        "8015d9b72d7d57244ea8ef9ac0c621896708a59367f9dfb9f54ca84b3f1c9db1288b231c3ae0d4fe7344fd2533264720",
    ),
    (
        "RFC 7515 appendix A.3",
        "7fcdce2770f6c45d4183cbee6fdb4b7b580733357be9ef13bacf6e3c7bd15445",
        "c7f144cd1bbd9b7e872cdfedb9eeb9f4b3695d6ea90b24ad8a4623288588e5ad",
    ),
    (
        "RFC 7517 appendix A.2",
        "30a0424cd21c2944838a2d75c92b37e76ea20d9f00893a3b4eee8a3c0aafec3e",
        "e04b65e92456d9888b52b379bdfbd51ee869ef1f0fc65b6659695b6cce081723",
    ),
    (
        "RFC 8152 C.7.2, bilbo.baggins",
        "bac5b11cad8f99f9c72b05cf4b9e26d244dc189f745228255a219a86d6a09eff",
        "20138bf82dc1b6d562be0fa54ab7804a3a64b6d72ccfed6b6fb6ed28bbfc117e",
    ),
    (
        "RFC 8152 C.7.2, meriadoc",
        "65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d",
        "1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c",
    ),
    (
        "base point of P-256, private key 1",
        "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    ),
    (
        "base point of P-384, private key 1",
        "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7",
        "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
    ),
)


def build() -> str:
    """The file's text: a list of {source, spki_der (base64), spki_sha256}."""
    rows = []
    for source, x, y in KEYS:
        curve = ec.SECP256R1() if len(x) == 64 else ec.SECP384R1()
        key = ec.EllipticCurvePublicNumbers(int(x, 16), int(y, 16), curve).public_key()
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        spki = base64.b64encode(der).decode()
        rows.append({"source": source, "spki_der": spki, "spki_sha256": hashlib.sha256(der).hexdigest()})
    return json.dumps(rows, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(build())
