"""The schema of the database: its revisions by Alembic, inside the package."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection


def bring_up_to_date(connection: Connection) -> None:
    """Change the schema to that of this release, inside the caller's transaction; nothing when it is that already."""
    if MigrationContext.configure(connection).get_current_revision() != newest_revision():
        config = _find_revisions()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@cache
def newest_revision() -> str | None:
    """The revision of this release. To know it, all are read: that takes as long as the rest of a start."""
    return ScriptDirectory.from_config(_find_revisions()).get_current_head()


def _find_revisions() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
