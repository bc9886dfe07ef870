import subprocess
from pathlib import Path

import pytest

from api.cli.labels import draw_label
from tests.api.cli.running import answer
from tests.api.conftest import TOKEN, Served
from tests.api.peer import Peer

LONG = f"KEDGE1;serial={'S' * 64};class={'c' * 64};lfdi={'0123456789abcdef' * 2}01234567"


@pytest.mark.req("EV-3")
@pytest.mark.parametrize("text", ["KEDGE1;serial=BMS-1;class=bms-stm32h7", LONG])
def test_a_foreign_reader_reads_the_code(tmp_path: Path, text: str) -> None:
    (tmp_path / "label.svg").write_bytes(draw_label(text))
    png = str(tmp_path / "label.png")
    subprocess.run(["rsvg-convert", "-o", png, str(tmp_path / "label.svg")], check=True)
    read = subprocess.run(["zbarimg", "--quiet", "--raw", png], check=True, capture_output=True, text=True)
    assert read.stdout == f"{text}\n"


def test_label_writes_the_code(served: Served, peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    web = ["device", "--url", served.url, "--token-file", str(tmp_path / "token"), "label", "BMS-1"]
    shown = answer(*web, "--svg", str(tmp_path / "label.svg"))
    assert shown["text"] == "KEDGE1;serial=BMS-1;class=bms-stm32h7"
    assert (tmp_path / "label.svg").read_bytes() == draw_label(shown["text"])
