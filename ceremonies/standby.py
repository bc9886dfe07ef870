"""Two keyrooms on one database: one is active, the other waits, and what the active one lost ends it.

A keyroom that starts on PostgreSQL while another is active is its standby: it holds nothing open, neither journal nor
token, until the lock is free; then it reads everything anew, as at any start.
"""

import os
import threading
import time

import structlog

from ceremonies.settings import KeyroomSettings
from ceremonies.store import Store, StoreLocked, StoreUnavailable

log = structlog.get_logger()

LOOK_EVERY_S = 0.5
"""How often a standby tries the lock."""

LOST = 71
"""Exit status when the session that writes was lost: the supervisor starts the keyroom again, as standby."""


def open_store(settings: KeyroomSettings) -> Store:
    """The store, as soon as no other keyroom has it. On SQLite there is no standby: raises StoreLocked at once.

    Raises what `Store` does. A standby goes on waiting while the server is away: it may be the active keyroom's, too.
    """
    waiting = False
    while True:
        try:
            return Store(settings.database_url, max_pages=settings.max_database_pages)
        except StoreLocked:
            if not settings.may_stand_by:
                raise
        except StoreUnavailable:
            if not waiting:
                raise
        if not waiting:
            log.info("standby: another keyroom is active", node=settings.node)
        waiting = True
        time.sleep(LOOK_EVERY_S)


def end_when_lost(store: Store) -> None:
    """End the process when its store is lost (crash-only): another keyroom may be active, and memory is behind it."""

    def watch() -> None:
        store.lost.wait()
        log.critical("the database session that writes was lost; the keyroom ends")
        os._exit(LOST)

    threading.Thread(target=watch, name="store-watch", daemon=True).start()
