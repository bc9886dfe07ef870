"""What `openssl cmp` sent, by name."""

import json

from tests.vectors.cmp.build_messages import FILE

MESSAGES = {name: bytes.fromhex(data) for name, data in json.loads(FILE.read_text()).items()}
