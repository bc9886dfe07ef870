"""The bare signature, measured by a process of its own: C_SignInit and C_Sign through ctypes, the handle kept.

`python -m tests.bench_raw PATH`: makes a token under PATH; each line with a number of seconds on standard input is
answered by one line of JSON with the times of single signatures, in seconds.
"""

import ctypes
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hsm.keys import KeyName
from tests.softhsm import fresh_strongbox


@contextmanager
def raw_signer(path: Path) -> Iterator["RawSigner"]:
    """A process that signs when it is asked to."""
    command = [sys.executable, "-m", "tests.bench_raw", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield RawSigner(process)
        if process.stdin:
            process.stdin.close()


class RawSigner:
    """Adds up what its process signed, in turns with what is compared with it: so both see the same machine."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.times: list[float] = []

    def sign(self, seconds: float) -> float:
        """Sign for so long; signatures per second."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        times: list[float] = json.loads(self._process.stdout.readline())
        self.times += times
        return len(times) / sum(times)


def main(path: Path) -> None:
    """Serve until standard input ends."""
    with fresh_strongbox(path, ["raw"]) as box:
        made = box.generate("raw", os.urandom(16), "bench", "p256")
        name = KeyName(token="raw", id=made.name.id, spki=made.name.spki, label="bench")
        box.sign(name, b"warm")
        signer = box._find_seat()._signers["raw", made.name.id]
        digest, buffer, length = hashlib.sha256(b"bench").digest(), (ctypes.c_char * 128)(), ctypes.c_ulong()
        mechanism = ctypes.addressof(signer._mechanism)
        for line in sys.stdin:
            times = []
            end = time.perf_counter() + float(line)
            while (now := time.perf_counter()) < end:
                length.value = 128
                rv = signer._init(signer._session, mechanism, signer._key)
                rv |= signer._sign(signer._session, digest, 32, ctypes.addressof(buffer), ctypes.addressof(length))
                assert rv == 0
                times.append(time.perf_counter() - now)
            print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
