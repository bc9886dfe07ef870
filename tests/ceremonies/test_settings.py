"""The settings file: strict, without secrets, paths relative to itself."""

from pathlib import Path

import pytest

from ceremonies.settings import ClonePlace, KeyroomSettings, SettingsInvalid, load_settings
from tests.world import soft_world

GOOD = """
origin = "kedge.example/journal"
node = "keyroom-1"
data = "data"
public = "/srv/public"
socket = "run/keyroom.sock"
module = "/usr/lib/softhsm/libsofthsm2.so"
roster_sha256 = ""
witnesses = "quorum none\\n"

[[tokens]]
label = "main"
pin_file = "pins/main"
so_pin_file = "pins/main.so"
roles = ["oem-root", "device-ca"]

[[tokens]]
label = "journal"
pin_file = "pins/journal"
roles = ["journal"]
"""


def load(path: Path, text: str = GOOD) -> KeyroomSettings:
    file = path / "keyroom.toml"
    file.write_text(text)
    return load_settings(file)


def test_paths_stand_beside_the_file(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.data == tmp_path / "data"
    assert settings.spool == tmp_path / "data" / "spool"
    assert settings.public == Path("/srv/public")
    assert settings.socket == tmp_path / "run/keyroom.sock"
    assert [token.pin_file for token in settings.tokens] == [tmp_path / "pins/main", tmp_path / "pins/journal"]
    assert [token.so_pin_file for token in settings.tokens] == [tmp_path / "pins/main.so", None]
    assert settings.database_url == f"sqlite:///{tmp_path}/data/kedge.db"
    assert (settings.mode, settings.peer_uids, settings.deadline_s) == ("development", (), 10.0)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keyroom.toml"
    path.write_bytes(b'origin = "\xc4"')
    with pytest.raises(SettingsInvalid, match="decode"):
        load_settings(path)


def test_a_role_lives_on_one_token(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert (settings.token_for("oem-root"), settings.token_for("journal")) == ("main", "journal")
    with pytest.raises(SettingsInvalid, match="no token holds the role recovery"):
        settings.token_for("recovery")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('node = "keyroom-1"\n', "", "missing required field `node`"),
        ('node = "keyroom-1"', 'node = "keyroom-1"\npin = "1234"', "unknown field `pin`"),
        ('label = "main"', 'label = "main"\npin = "1234"', "unknown field `pin`"),
        ('origin = "kedge.example/journal"', 'origin = "kedge example"', "origin"),
        ('roster_sha256 = ""', 'roster_sha256 = "abc"', "roster_sha256"),
        ('data = "data"', "data = 7", "data"),
        ('data = "data"', 'data = "data"\nmode = "test"', "mode"),
        ('data = "data"', 'data = "data"\ndeadline_s = 0.0', "deadline_s"),
        ('data = "data"', 'data = "data', "TOML|line|newline"),
        ('label = "journal"', 'label = "main"', "one label"),
        ('roles = ["journal"]', 'roles = ["journal", "counter"]', "holds the journal key and others"),
        ('roles = ["journal"]', 'roles = ["counter"]', "no token holds the role journal"),
        ('roles = ["journal"]', 'roles = ["journal", "journal"]', "holds the journal key and others"),
        ('roles = ["oem-root", "device-ca"]', 'roles = ["oem-root", "journal"]', "holds the journal key and others"),
        ('roles = ["oem-root", "device-ca"]', 'roles = ["journal"]', "two tokens hold the role journal"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, why: str) -> None:
    assert old in GOOD
    with pytest.raises(SettingsInvalid, match=why):
        load(tmp_path, GOOD.replace(old, new))


def test_feeds_stand_beside_the_file_too(tmp_path: Path) -> None:
    feeds = """
[[feeds]]
name = "log"
to = "file:events.jsonl"
[[feeds]]
name = "local"
to = "syslog:/dev/log"
[[feeds]]
name = "siem"
to = "https://siem.example/in"
secret_file = "siem.key"
ca = "ca.pem"
severity = "warning"
"""
    log, local, siem = load(tmp_path, GOOD + feeds).feeds
    assert (log.to, local.to) == (f"file:{tmp_path / 'events.jsonl'}", "syslog:/dev/log")
    assert (siem.to, siem.secret_file, siem.ca) == (
        "https://siem.example/in",
        tmp_path / "siem.key",
        tmp_path / "ca.pem",
    )
    assert (log.severity, siem.severity) == ("info", "warning")
    with pytest.raises(SettingsInvalid, match="two feeds have one name"):
        load(tmp_path, GOOD + feeds.replace('"siem"', '"log"', 1))
    with pytest.raises(SettingsInvalid, match="severity"):
        load(tmp_path, GOOD + feeds.replace('"warning"', '"loud"'))


REMOTE = """
[remote]
listen = "10.0.0.5:8400"
certificate = "tls/keyroom.pem"
key = "tls/keyroom.key"
ca = "/etc/kedge/api-ca.pem"
peers = ["dns:api-1.example"]
"""


def test_the_files_of_the_remote_address_stand_beside_the_file(tmp_path: Path) -> None:
    assert load(tmp_path).remote is None
    remote = load(tmp_path, GOOD + REMOTE).remote
    assert remote is not None
    assert (remote.certificate, remote.key) == (tmp_path / "tls/keyroom.pem", tmp_path / "tls/keyroom.key")
    assert remote.ca == Path("/etc/kedge/api-ca.pem")


@pytest.mark.req("AZ-5")
@pytest.mark.parametrize("peers", ["[]", '["api-1.example"]', '["dns:*"]', '["spki:00"]', '["dns:"]', '["uri:x"]'])
def test_who_is_let_in_must_be_named(tmp_path: Path, peers: str) -> None:
    with pytest.raises(SettingsInvalid, match="peers"):
        load(tmp_path, GOOD + REMOTE.replace('["dns:api-1.example"]', peers))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"nowhere\.toml"):
        load_settings(tmp_path / "nowhere.toml")


def test_the_settings_of_the_tests_are_accepted(tmp_path: Path) -> None:
    assert soft_world(tmp_path).settings().token_for("recovery") == "kedge-recovery"


CLONES = """
[[tokens.clones]]
module = "other.so"
pin_file = "other.pin"
[[tokens.clones]]
serial = "0123456789abcdef"
"""


def write_clones(tmp_path: Path, clones: str) -> Path:
    """Settings of one token with clones, and of the journal's."""
    file = tmp_path / "keyroom.toml"
    file.write_text(f"""
origin = "kedge.example/journal"
node = "n1"
data = "data"
public = "public"
socket = "keyroom.sock"
module = "one.so"
roster_sha256 = ""
witnesses = "quorum none"
sessions = 4
inventory_every_s = 60
[[tokens]]
label = "journal"
pin_file = "journal.pin"
roles = ["journal"]
[[tokens]]
label = "main"
pin_file = "main.pin"
roles = ["oem-root"]
{clones}
""")
    return file


def test_clones_have_absolute_paths_and_are_other_places(tmp_path: Path) -> None:
    settings = load_settings(write_clones(tmp_path, CLONES))
    assert settings.tokens[1].clones == (
        ClonePlace(module=tmp_path / "other.so", pin_file=tmp_path / "other.pin"),
        ClonePlace(serial="0123456789abcdef"),
    )
    assert (settings.sessions, settings.inventory_every_s) == (4, 60.0)
    for same in ('[[tokens.clones]]\npin_file = "x"', CLONES + CLONES):
        with pytest.raises(SettingsInvalid, match="two places of token main are the same"):
            load_settings(write_clones(tmp_path, same))


def test_a_probe_key_may_live_on_any_token_but_the_journals(tmp_path: Path) -> None:
    settings = load_settings(write_clones(tmp_path, ""))
    assert [settings.may_hold(token, "probe") for token in ("main", "journal", "other")] == [True, False, False]
    assert (settings.may_hold("main", "oem-root"), settings.may_hold("journal", "oem-root")) == (True, False)
    file = write_clones(tmp_path, "")
    file.write_text(file.read_text().replace('"oem-root"', '"oem-root", "probe"'))
    with pytest.raises(SettingsInvalid, match="lists the role probe"):
        load_settings(file)
