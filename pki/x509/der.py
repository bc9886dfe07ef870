"""The little DER (X.690 section 10) that lints and assembly need, apart from the library that they check."""

from pki.x509.errors import DerMalformed

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
OID = 0x06
ENUMERATED = 0x0A
SEQUENCE = 0x30
SET = 0x31


# One value inside `data`: its tag octet, where it begins, where its content begins, where it ends.
Element = tuple[int, int, int, int]


def read_element(data: bytes, at: int, end: int) -> Element:
    """Read the element that begins at `at` and must end by `end`.

    Raises DerMalformed for tags above 30, indefinite, padded or too long lengths, and values over 16 MiB.
    """
    start = at + 2
    if start > end:
        raise DerMalformed(f"truncated at byte {at}")
    tag, length = data[at], data[at + 1]
    if tag & 0x1F == 0x1F:
        raise DerMalformed(f"long tag at byte {at}")
    if length > 0x7F:
        size = length & 0x7F
        length = int.from_bytes(data[start : start + size], "big")
        if not 1 <= size <= 3 or length < 0x80 or length >> (8 * size - 8) == 0:
            raise DerMalformed(f"length at byte {at} is not the shortest form of up to 3 octets")
        start += size
    if start + length > end:
        raise DerMalformed(f"truncated at byte {at}")
    return tag, at, start, start + length


def read_children(data: bytes, parent: Element, *, limit: int = 32) -> list[Element]:
    """The elements that fill `parent` exactly. Raises DerMalformed, also when they are more than `limit`."""
    children: list[Element] = []
    _, first, at, end = parent
    while at < end:
        if len(children) == limit:
            raise DerMalformed(f"more than {limit} elements at byte {first}")
        child = read_element(data, at, end)
        children.append(child)
        at = child[3]
    return children


def whole(data: bytes, element: Element) -> bytes:
    """An element with its header."""
    return data[element[1] : element[3]]


def content(data: bytes, element: Element) -> bytes:
    """An element's content."""
    return data[element[2] : element[3]]


def tags(elements: list[Element]) -> list[int]:
    """The tag octets of elements, in order."""
    return [element[0] for element in elements]


def read_whole(data: bytes, tag: int) -> Element:
    """The one element that `data` is. Raises DerMalformed, also for trailing bytes and another tag."""
    element = read_element(data, 0, len(data))
    if element[3] != len(data):
        raise DerMalformed(f"{len(data) - element[3]} bytes follow the value")
    if element[0] != tag:
        raise DerMalformed(f"tag 0x{element[0]:02x}, 0x{tag:02x} is expected")
    return element


def write_element(tag: int, *parts: bytes) -> bytes:
    """Encode one element whose content is `parts`, joined; less than 16 MiB of content."""
    joined = b"".join(parts)
    length = len(joined)
    if length < 0x80:
        return bytes((tag, length)) + joined
    if length < 0x100:
        return bytes((tag, 0x81, length)) + joined
    if length < 0x10000:
        return bytes((tag, 0x82)) + length.to_bytes(2, "big") + joined
    return bytes((tag, 0x83)) + length.to_bytes(3, "big") + joined


def write_oid(dotted: str) -> bytes:
    """Encode an object identifier that is known to be well-formed (X.690 section 8.19)."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    octets = bytearray()
    for arc in (40 * first + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | arc & 0x7F)
        octets += bytes(reversed(groups))
    return write_element(OID, bytes(octets))
