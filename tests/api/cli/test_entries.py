"""Entries of an export as lines."""

import csv
import io
import json
from pathlib import Path

import pytest

from api.cli.entries import COLUMNS, format_csv, format_jsonl, walk
from pki.log.merkle import leaf_hash
from tests.api.cli.exporting import write_export
from tests.api.cli.running import kedge, refusal
from tests.pki.log.building import Journal
from tests.pki.log.stories import DEVICE, SINCE, assemble_excerpt, assemble_increment, story


@pytest.mark.req("AU-10")
def test_each_kind_of_export_is_walked(tmp_path: Path) -> None:
    entries = story().entries
    whole = write_export(tmp_path / "whole", story().files())
    assert list(walk(whole)) == list(enumerate(entries))
    increment = write_export(tmp_path / "increment", assemble_increment(story(), SINCE))
    assert list(walk(increment)) == list(enumerate(entries))[SINCE:]
    excerpt = write_export(tmp_path / "excerpt", assemble_excerpt(story(), DEVICE))
    assert list(walk(excerpt)) == [(15, entries[15]), (16, entries[16])]
    assert kedge("journal", "show", excerpt).stdout.encode() == entries[15] + b"\n" + entries[16] + b"\n"
    (tmp_path / "empty").mkdir()
    assert refusal("journal", "show", tmp_path / "empty") == "file-refused"


@pytest.mark.req("AU-10")
def test_csv_has_fixed_columns(tmp_path: Path) -> None:
    excerpt = write_export(tmp_path, assemble_excerpt(story(), DEVICE))
    header, intent, outcome = csv.reader(io.StringIO(kedge("journal", "show", excerpt, "--format", "csv").stdout))
    assert tuple(header) == COLUMNS
    row = dict(zip(header, intent, strict=True))
    assert (row["seq"], row["type"], row["serial"], row["work_order"]) == ("15", "key.sign.intent", "BMS-1", "wo-1")
    assert (row["kctrs"], row["sub"], row["status"]) == ("1", "s-1", "")
    closing = dict(zip(header, outcome, strict=True))
    assert (closing["closes"], closing["status"]) == ("15", "ok")
    assert closing["leaf_hash"] == leaf_hash(story().entries[16]).hex()


def test_a_value_that_looks_like_a_formula_is_defused() -> None:
    journal = Journal()
    journal.add("auth.fail", req="=cmd()", op={"kind": 'a "b", c'}, actor={"sub": "+1"})
    _, line = csv.reader(io.StringIO("".join(format_csv(enumerate(journal.entries)))))
    row = dict(zip(COLUMNS, line, strict=True))
    assert (row["req"], row["sub"], row["kind"]) == ("'=cmd()", "'+1", 'a "b", c')
    (text,) = format_jsonl(enumerate(journal.entries))
    assert json.loads(text)["req"] == "=cmd()"
