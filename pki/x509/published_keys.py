"""Keys whose private half anyone can have: examples and test keys that find their way into products.

Facts, by SHA-256 of the DER SubjectPublicKeyInfo, with the place where the private key is printed. MCUboot's are in
its repository (github.com/mcu-tools/mcuboot, seen at commit 2d4bacc3c15e), whose manual says that such a key is never
to be used in production. No such list is complete. The public keys themselves are in tests/vectors/x509.
"""

from collections.abc import Mapping
from types import MappingProxyType

PUBLISHED_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "e30466f6b8470c1f29070b17f1e2d3e94d445e3f608087fdc711e4382bb538b6": "MCUboot root-ec-p256.pem",
        "6bcd1e16d80e5fe13a5307e6f1de8344c7e50e537d9962ce35ef6db5e642fae8": "MCUboot root-ec-p384.pem",
        "3c23fc4e1d332a0c86e6a8bf6ecf26046d702302e135bf53fc04a009a33a78c5": "MCUboot enc-ec256-priv.pem",
        "e6c097daf1458d0f8b8d43fc4b4b9d4425203484b3afe5570ed074073901bab0": "MCUboot bad-keys/bad-ec-p256.pem",
        "6dc968724fdedb71be7c8ad62540ea148996f96adb5c48e9cc3112c588f26d89": "MCUboot testplan/mynewt/key_ec256.pem",
        "1c35c9ccb929906e7792eda384825b41be700c50760493eaf163135933e191aa": "MCUboot testplan/mynewt/key_ec256_2.pem",
        "bb868a727f0ef75e890a6a52bccd1d936fb34438afd6f237e8af259865742446": "MCUboot cypress-test-ec-p256.pem",
        "b2b04340cfaee616ec9c2c62d261b208e54bb197498df52e8cadede23ac0ba5e": "RFC 9500 section 2.3 testECCP256",
        "c4c10105a0be0ed4dd3354428dc38a9bfee64da141ce16e75c94eda272f9dd3a": "RFC 9500 section 2.3 testECCP384",
        "5a7a78cca4a0f420d9bc62bb669c3c2759e39f723d3ae10dcbe0f0815a07ecd4": "RFC 6979 appendix A.2.5",
        "2f95601fa82060b909bfc6b979dbd303d34d34e0afb27ea496beac362f242a4b": "RFC 6979 appendix A.2.6",
        "2bd1bb0c44a897c30a7aa0991cde38d8062fe441de50da0f46825344f602e827": "RFC 7515 appendix A.3",
        "51b944cdfa544d4c3273aa6bf350625a7dd53bbb6a71723274f538b19a207760": "RFC 7517 appendix A.2",
        "66e2b23c32c650217f99e11fb60b51ea72c6667c6dfd1238364435e62d659d5b": "RFC 8152 C.7.2, bilbo.baggins",
        "eb28a65877d2b84b92a6a9b5fd762a45e50665933d97fc0c724e70a161f2031a": "RFC 8152 C.7.2, meriadoc",
        "5cd252fb0ce8932436faf8ccd1040981b89ee4ad6b9fe9e2a2b7e71aacb27cd3": "base point of P-256, private key 1",
        "29f8fe74f38c49d49810cec736a26732a30bff2e64827b709a1c63340d4f7181": "base point of P-384, private key 1",
    }
)
