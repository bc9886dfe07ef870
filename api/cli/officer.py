"""`kedge officer`: see what is to be approved, from its bytes, and sign it with one's own SSH key. Works offline."""

import datetime
import subprocess
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from api.cli.drafts import ShownDraft, describe
from api.cli.errors import FileRefused, KeyNotInRoster, SigningFailed, WordsDiffer
from api.cli.files import read_file, write_file
from api.cli.lines import escape, flatten, list_facts
from api.cli.session import Session, session_of
from api.cli.steps import LIMIT, Step, parse_step
from ceremonies.approvals import NAMESPACE, Decision, statement_bytes, verify_approval
from ceremonies.errors import KeyroomError
from ceremonies.officers import Roster

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="What officers do with their own keys, offline.",
)
File = Annotated[Path, typer.Argument(help="A step that `kedge ceremony export` wrote.")]
SIGNING_TIME: Final = 120
TIMES: Final = ("valid_from", "valid_to", "start", "end")
YEAR_9999: Final = 253_402_300_800


@app.command()
def show(ctx: typer.Context, file: File) -> None:
    """Show a step from its bytes: the statement, all that it covers, the digest in hex and in words."""
    session, step = session_of(ctx), parse_step(read_file(file, LIMIT))
    present(session, step)


@app.command()
def approve(
    ctx: typer.Context,
    file: File,
    key: Annotated[Path, typer.Option(help="Your SSH key, private or public half (the agent or a token signs).")],
    officer: Annotated[str, typer.Option(help="Your name in the roster.")],
    words: Annotated[str, typer.Option(help="The last four words of the digest; asked for when absent.")] = "",
) -> None:
    """Approve a step: writes the statement beside FILE, and its signature as .sig."""
    decide(session_of(ctx), file, (key, officer, "approve"), words)


@app.command()
def reject(
    ctx: typer.Context,
    file: File,
    key: Annotated[Path, typer.Option(help="Your SSH key.")],
    officer: Annotated[str, typer.Option(help="Your name in the roster.")],
    words: Annotated[str, typer.Option(help="The last four words of the digest; asked for when absent.")] = "",
) -> None:
    """Reject a step: rejecting is an act too, and blocks."""
    decide(session_of(ctx), file, (key, officer, "reject"), words)


def decide(session: Session, file: Path, signer: tuple[Path, str, Decision], words: str) -> None:
    """Show, have the words typed, sign. Raises StepFileInconsistent, KeyNotInRoster, WordsDiffer, SigningFailed."""
    key, officer, decision = signer
    step = parse_step(read_file(file, LIMIT))
    check_signer(step.roster, key, officer)
    if not words:
        present(session, step)
        words = typer.prompt(f"To {decision}, type the last {len(step.challenge)} words of the digest", err=True)
    if tuple(words.lower().split()) != tuple(word.lower() for word in step.challenge):
        raise WordsDiffer("these are not the last words of the digest", hint="compare all words with another officer")
    statement = file.with_name(f"{step.template.ceremony}-{step.template.step}-{officer}.json")
    signature = sign_statement(write_file(statement, statement_bytes(step.template, officer, decision)), key)
    check_signature(step, statement, signature)
    paths = {"statement": str(statement), "signature": str(signature), "decision": decision}
    session.show(paths, f"{officer}: {decision}", f"statement {statement}", f"signature {signature}")


def check_signer(roster: Roster, key: Path, officer: str) -> None:
    """Before anything is signed: the public half beside the key is this officer's. Raises KeyNotInRoster, FileRefused.

    A private key without its `.pub` file is judged by its signature, in `check_signature`.
    """
    public = key if key.suffix == ".pub" else key.with_name(key.name + ".pub")
    if not public.exists():
        return
    line = " ".join(read_file(public, 1 << 14).decode(errors="replace").split()[:2])
    owner = next((item.id for item in roster.officers if line in item.keys), "nobody")
    if owner != officer:
        raise KeyNotInRoster(
            f"{public} is not a key of {officer}, but of {owner}", hint="use your own --key and --officer"
        )


def check_signature(step: Step, statement: Path, signature: Path) -> None:
    """What was signed is what the keyroom will take; else both files are removed. Raises KeyNotInRoster."""
    try:
        armoured = read_file(signature, 1 << 14).decode(errors="replace")
        verify_approval(step.template, read_file(statement, 1 << 16), armoured, step.roster)
    except KeyroomError as error:
        signature.unlink()
        statement.unlink()
        raise KeyNotInRoster(error.message, hint="use your own --key and --officer") from error


def sign_statement(statement: Path, key: Path) -> Path:
    """Have ssh-keygen sign a file; it asks for passphrase, PIN or touch itself. Raises SigningFailed, FileRefused."""
    signature = statement.with_name(statement.name + ".sig")
    if signature.exists():
        raise FileRefused(f"{signature} exists", hint="you signed this already; remove it to sign again")
    command = ["ssh-keygen", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(statement)]
    try:
        done = subprocess.run(command, stderr=subprocess.PIPE, timeout=SIGNING_TIME, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SigningFailed(f"ssh-keygen: {error}", hint="install OpenSSH 8.2 or newer") from error
    if done.returncode or not signature.exists():
        raise SigningFailed(
            f"ssh-keygen: {escape(done.stderr.decode(errors='replace').strip())}", hint="is --key right?"
        )
    return signature


def present(session: Session, step: Step) -> None:
    """All that an officer needs to see, from the bytes."""
    drafts = step.drafts
    decoded = {draft.name: describe(draft) for draft in drafts}
    value: dict[str, Any] = {**step.facts, "words": list(step.words), "shown": step.content}
    words = [" ".join(step.words[start : start + 4]) for start in range(0, len(step.words), 4)]
    rest = {name: part for name, part in step.content.items() if name != "drafts"}
    session.show(
        value,
        *list_facts("The statement", step.facts.items()),
        *list_facts("What it covers", map(add_utc, flatten(rest))),
        *(line for draft in drafts for line in list_draft(draft, decoded[draft.name])),
        *list_facts("Digest, to be read aloud", ((f"{4 * row + 1:2}", line) for row, line in enumerate(words))),
        *list_facts("Afterwards there will be", enumerate(consequences(step), 1)),
    )


class _Consequences(msgspec.Struct, frozen=True):
    """The parts of a plan, or of results, that change something."""

    keys: tuple[dict[str, str], ...] = ()
    destroy: tuple[dict[str, str], ...] = ()
    states: dict[str, tuple[str, ...]] = {}
    leaves: dict[str, str] = {}
    suspends: tuple[str, ...] = ()
    issuing: dict[str, Any] = {}
    superseded: dict[str, Any] = {}
    linked: tuple[str, ...] = ()


def consequences(step: Step) -> list[str]:
    """What will exist or have changed when the step is done, in sentences."""
    plan = msgspec.convert(step.content, _Consequences)
    made = [f"a key {key['label']} for {key['role']} on token {key['token']}" for key in plan.keys]
    gone = [f"no key {key['label']} any more: this cannot be undone" for key in plan.destroy]
    changed = [f"key {label}: {state}" for state, labels in plan.states.items() for label in labels]
    signed = [f"{draft.name}, signed by {len(draft.statement['sign'])} keys: {draft.summary}" for draft in step.drafts]
    changed += [f"key {label}: suspended" for label in plan.suspends]
    if plan.leaves:
        changed.append(f"key {plan.leaves['label']} signs no checkpoint of the journal any more")
    if plan.issuing:
        changed.append(f"CA {plan.issuing['label']} issues; {plan.superseded.get('label')} issues nothing any more")
    changed += [f"links in both directions between the new root and {label}" for label in plan.linked]
    if (step.template.action, step.template.step) == ("log-key-rotate", "results"):
        changed += [f"key {key['label']} signs every checkpoint, beside the present one" for key in plan.keys]
    return [*made, *gone, *changed, *signed] or [step.template.summary]


def list_draft(draft: ShownDraft, decoded: Any) -> list[str]:
    """A draft as lines: what it is, its digest, and its payload decoded."""
    return list_facts(f"{draft.kind} {draft.name}", [("digest", draft.digest), *flatten(decoded)])


def add_utc(fact: tuple[str, str]) -> tuple[str, str]:
    """A time in seconds since 1970 with its UTC date beside it; other facts as they are."""
    name, value = fact
    if name.rpartition(".")[2] not in TIMES or not value.isdecimal() or int(value) >= YEAR_9999:
        return fact
    moment = datetime.datetime.fromtimestamp(int(value), datetime.UTC)
    return name, f"{value} ({moment:%Y-%m-%dT%H:%M:%SZ})"
