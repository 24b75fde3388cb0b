"""The tables of `session.db` and the steps from older ones.

Owns the schema. Must not know what rows mean. Steps are only ever appended; `PRAGMA user_version` counts
the ones that were run.

A frame's key is its stream time in microseconds and, for a folder of pictures, its file name: when a replay
shows the same moment again, the new row replaces the old one. `nth` keeps apart frames of one pass that
claim the same time.
"""

from __future__ import annotations

import sqlite3

from endostream.errors import InputError

STEPS: tuple[str, ...] = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE frames (
        time_us INTEGER NOT NULL, file TEXT NOT NULL, nth INTEGER NOT NULL,
        number INTEGER NOT NULL, pts INTEGER, time REAL NOT NULL, epoch INTEGER NOT NULL,
        visible INTEGER NOT NULL, reason TEXT, segmented INTEGER NOT NULL,
        mask_area REAL NOT NULL, x0 INTEGER, y0 INTEGER, x1 INTEGER, y1 INTEGER,
        mask_source TEXT, mask_time REAL,
        label TEXT, confidence REAL, raw_label TEXT, raw_confidence REAL,
        scores BLOB NOT NULL, raw BLOB NOT NULL,
        PRIMARY KEY (time_us, file, nth)
    );
    CREATE TABLE findings (
        landmark INTEGER NOT NULL, id INTEGER NOT NULL, label TEXT NOT NULL,
        start REAL NOT NULL, end REAL, peak_time REAL NOT NULL, peak_confidence REAL NOT NULL,
        peak_index INTEGER NOT NULL, still TEXT, review TEXT NOT NULL, note TEXT NOT NULL,
        PRIMARY KEY (landmark, id)
    ) WITHOUT ROWID;
    CREATE TABLE blind (id INTEGER PRIMARY KEY, start REAL NOT NULL, end REAL NOT NULL, reason TEXT NOT NULL);
    CREATE TABLE stills (
        id INTEGER PRIMARY KEY, finding INTEGER, path TEXT NOT NULL, time REAL NOT NULL, kind TEXT NOT NULL
    );
    CREATE TABLE events (id INTEGER PRIMARY KEY, wall REAL NOT NULL, kind TEXT NOT NULL, data TEXT NOT NULL);
    """,
)

APPLICATION_ID = 0x454E444F
"""`ENDO` in the header of the file."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables behind `connection` up to the newest step."""
    done = _version(connection)
    for number, step in enumerate(STEPS[done:], done + 1):
        connection.executescript(f"BEGIN; {step} PRAGMA user_version = {number}; COMMIT;")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def check(connection: sqlite3.Connection) -> None:
    """Return when the database is one of ours and not newer than this program; else raise `InputError`."""
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    version = _version(connection)
    if owner != APPLICATION_ID or version < 1:
        raise InputError("session.db is not an EndoStream session; choose another folder")
    if version > len(STEPS):
        raise InputError(
            f"session.db has schema {version}, this version reads up to {len(STEPS)}; update EndoStream"
        )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
