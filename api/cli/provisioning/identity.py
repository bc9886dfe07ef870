"""The station's own certificate, looked at before it is shown: in a handshake, one that has ended seems an outage."""

import datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from api.cli.errors import FileRefused
from api.cli.files import read_file
from api.cli.provisioning.exits import StationNotAuthorised
from api.cli.session import CERTIFICATE

LIMIT: Final = 1 << 16


def check_identity(directory: Path | None) -> None:
    """Raises StationNotAuthorised when the certificate has ended, FileRefused when there is none. None: by token."""
    if directory is None:
        return
    path = directory / CERTIFICATE
    try:
        certificate = x509.load_pem_x509_certificate(read_file(path, LIMIT))
    except ValueError as error:
        raise FileRefused(f"{path} holds no certificate: {error}", hint="`kedge station certify` fetches it") from error
    ends = certificate.not_valid_after_utc
    if ends <= datetime.datetime.now(datetime.UTC):
        raise StationNotAuthorised(
            f"the station's certificate has ended on {ends:%Y-%m-%d}", hint="`kedge station certify`, then resume"
        )
