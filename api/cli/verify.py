"""`kedge verify`: check an exported journal offline. Of our rooms it needs `pki` only."""

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from cryptography import x509

from api.cli.errors import CONSISTENT
from api.cli.files import FILE_LIMIT, list_files, read_file
from api.cli.lines import escape
from api.cli.session import session_of
from pki.log.digests import Digests
from pki.log.evidence import read_blob_path
from pki.log.exports import verify_export
from pki.log.files import SCHEMA, Files
from pki.log.policy import TrustPolicy, parse_policy
from pki.log.schema import leaf_schema
from pki.log.stamps import parse_authorities


def verify_directory(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(help="What `kedge journal export` wrote.")],
    trust: Annotated[Path | None, typer.Option(help="Trust policy, from another source than DIRECTORY.")] = None,
    since: Annotated[Path | None, typer.Option(help="Your last checkpoint; an increment needs it.")] = None,
    allow_open: Annotated[bool, typer.Option(help="Accept operations still under way.")] = False,
) -> None:
    """Check every entry, hash, signature and quorum; the first bad entry is named.

    Complete exports, increments (--since) and exports of one party. Status 0: authenticated. 1: a fault was found.
    3: consistent, but without --trust nobody vouches for it.
    """
    policy, authorities = read_trust(trust) if trust else (None, ())
    before = read_file(since, 1 << 20) if since else None
    files = msgspec.structs.replace(open_export(directory, policy), authorities=authorities)
    report = verify_export(files, before, allow_open=allow_open)
    session, value = session_of(ctx), msgspec.to_builtins(report)
    session.show(value, *list_report(value))
    if report.verdict != "authenticated":
        raise typer.Exit(CONSISTENT)


def read_trust(path: Path) -> tuple[TrustPolicy, tuple[x509.Certificate, ...]]:
    """A trust file: a tlog-policy, and behind it the certificates (PEM) believed for time-stamps, if any."""
    text, begin, rest = read_file(path, 1 << 18).partition(b"-----BEGIN CERTIFICATE-----")
    return parse_policy(text), parse_authorities(begin + rest) if begin else ()


def open_export(directory: Path, policy: TrustPolicy | None) -> Files:
    """The files of an export, and what explains them in this release."""
    paths: set[str] = set()

    def list_blobs() -> Iterator[str]:
        for path in list_files(directory):
            if name := read_blob_path(path):
                yield name
            else:
                paths.add(path)

    blobs = Digests(list_blobs())
    explained = {SCHEMA: leaf_schema(), "trust.cddl": resources.files("pki.trust").joinpath("trust.cddl").read_bytes()}
    return Files(
        lambda path: read_file(Path(f"{directory}/{path}"), FILE_LIMIT),
        frozenset(paths),
        policy,
        explained,
        blobs=blobs,
    )


def list_report(value: dict[str, Any]) -> list[str]:
    """The report as lines, one for each signer, witness and type of entry."""
    lines = []
    for name, item in value.items():
        if isinstance(item, dict):
            lines += [f"{name:>20}  {kind}: {count}" for kind, count in item.items()]
        elif isinstance(item, list | tuple):
            lines += [f"{name:>20}  {part}" for part in item] or [f"{name:>20}  none"]
        else:
            lines.append(f"{name:>20}  {item}")
    return [escape(line) for line in lines]
