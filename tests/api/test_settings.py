import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from api.settings import PREFIX, ApiSettings
from ceremonies.client import KeyroomAddress, TlsFiles


def test_environment_carries_every_setting_there_and_back() -> None:
    settings = ApiSettings(
        socket=Path("/run/kedge/keyroom.sock"),
        public_dir=Path("/srv/kedge"),
        allowed_hosts=("kedge.example", "*.plant.example"),
        trusted_proxies=("10.0.0.1", "10.0.0.2"),
        tls_cert=Path("/etc/kedge/tls.pem"),
        tls_key=Path("/etc/kedge/tls.key"),
        tls_client_ca=Path("/etc/kedge/stations.pem"),
        certificate_proxies=("10.0.0.3",),
        workers=4,
        body_gap=2.5,
    )
    assert ApiSettings.from_environment({**settings.to_environment(), "PATH": os.defpath}) == settings


def test_variable_that_names_no_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="pin"):
        ApiSettings.from_environment({PREFIX + "SOCKET": "s", PREFIX + "PUBLIC_DIR": "p", PREFIX + "PIN": "0000"})


@pytest.mark.parametrize("hosts", ["", "*", "a.example,*", "a*.example", "*.*"])
def test_hosts_must_be_named(hosts: str) -> None:
    with pytest.raises(ValidationError, match="name the hosts"):
        ApiSettings.from_environment(
            {PREFIX + "SOCKET": "s", PREFIX + "PUBLIC_DIR": "p", PREFIX + "ALLOWED_HOSTS": hosts}
        )


def test_defaults_listen_on_this_machine_only() -> None:
    settings = ApiSettings(socket=Path("s"), public_dir=Path("p"))
    assert settings.host == "127.0.0.1"
    assert settings.trusted_proxies == ()


def test_json_limit_fits_a_frame_of_the_keyroom() -> None:
    with pytest.raises(ValidationError):
        ApiSettings(socket=Path("s"), public_dir=Path("p"), json_limit=(2 << 20) + 1)


REMOTE = {
    PREFIX + "PUBLIC_DIR": "p",
    PREFIX + "KEYROOM": "10.0.0.5:8400",
    PREFIX + "KEYROOM_NAME": "keyroom.example",
    PREFIX + "KEYROOM_CA": "ca.pem",
    PREFIX + "KEYROOM_CERT": "api.pem",
    PREFIX + "KEYROOM_KEY": "api.key",
}


def test_a_keyroom_elsewhere_is_told_by_address_name_and_files() -> None:
    settings = ApiSettings.from_environment(REMOTE)
    files = TlsFiles(Path("api.pem"), Path("api.key"), Path("ca.pem"))
    assert settings.place == KeyroomAddress("10.0.0.5:8400", "keyroom.example", files)
    assert ApiSettings.from_environment(settings.to_environment()) == settings
    assert ApiSettings(socket=Path("s"), public_dir=Path("p")).place == Path("s")


@pytest.mark.parametrize("missing", [name for name in REMOTE if "KEYROOM" in name])
def test_a_keyroom_elsewhere_is_told_wholly(missing: str) -> None:
    with pytest.raises(ValidationError, match="keyroom"):
        ApiSettings.from_environment({name: value for name, value in REMOTE.items() if name != missing})


def test_a_keyroom_is_in_one_place() -> None:
    with pytest.raises(ValidationError, match="not both"):
        ApiSettings.from_environment({**REMOTE, PREFIX + "SOCKET": "s"})
