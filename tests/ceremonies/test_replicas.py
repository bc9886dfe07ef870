"""Certificates of a box, made anew."""

import asyncio

import msgspec
import pytest

from ceremonies.grants import find_box, load_plant_ca
from ceremonies.replicas import Facts, read_issued
from pki.log.leaves import parse_leaf
from tests.ceremonies.boxed import CA, Pair, issue
from tests.ceremonies.small import act
from tests.world import FLEET


def test_a_certificate_of_no_work_order_differs(pair: Pair) -> None:
    issued = asyncio.run(issue(pair.box, "BMS-000001"))
    leaf = parse_leaf(issued.proven.entry)
    assert leaf.op and leaf.op.what
    room = pair.centre.room
    issuer = act(pair.centre, lambda: load_plant_ca(room, find_box(room, CA)))
    facts = Facts(issuer, FLEET)
    assert read_issued(facts, (issued.proven.index, leaf), issued.certificate).work_order == "wo-1"
    for order in ("wo/1", "wo\0", ""):
        leaf.op.what["work_order"] = order
        with pytest.raises(msgspec.ValidationError):
            read_issued(facts, (issued.proven.index, leaf), issued.certificate)
