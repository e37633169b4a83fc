"""The tables of the ledger, as the steps that led to them.

No column holds a prompt, an answer or a secret. Money is whole nano-dollars (10^-9 USD), times
are seconds since the epoch, durations are seconds; NULL is unknown.
"""

from __future__ import annotations

MIGRATIONS = (
    """
    CREATE TABLE keys (
        name TEXT PRIMARY KEY,
        digest BLOB,
        last_seen REAL,
        last_used REAL,
        last_refused REAL,
        program TEXT NOT NULL
    ) WITHOUT ROWID;

    CREATE TABLE objects (
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        provider TEXT NOT NULL,
        credential TEXT NOT NULL,
        group_name TEXT NOT NULL,
        created REAL NOT NULL,
        PRIMARY KEY (kind, id)
    ) WITHOUT ROWID;
    CREATE INDEX objects_by_time ON objects (created);

    CREATE TABLE calls (
        call_id TEXT PRIMARY KEY,
        started REAL NOT NULL,
        key TEXT NOT NULL,
        group_name TEXT NOT NULL,
        vendor TEXT NOT NULL,
        dialect TEXT NOT NULL,
        endpoint TEXT NOT NULL,
        method TEXT NOT NULL,
        model_asked TEXT,
        model_served TEXT,
        streaming INTEGER NOT NULL,
        provider TEXT NOT NULL,
        credential TEXT NOT NULL,
        status INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        refusal TEXT,
        reason TEXT NOT NULL,
        attempts TEXT NOT NULL,
        wait REAL NOT NULL,
        first_byte REAL,
        duration REAL NOT NULL,
        input_tokens INTEGER,
        output_tokens INTEGER,
        cache_read_tokens INTEGER,
        cache_write_tokens INTEGER,
        cache_write_1h_tokens INTEGER,
        reasoning_tokens INTEGER,
        units TEXT NOT NULL,
        service_tier TEXT,
        usage_state TEXT NOT NULL,
        session TEXT,
        program TEXT NOT NULL
    );
    CREATE INDEX calls_by_time ON calls (started);
    CREATE INDEX calls_by_key ON calls (key, started);
    """,
    """
    CREATE TABLE counts (
        name TEXT PRIMARY KEY,
        begun REAL NOT NULL,
        used INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE calls ADD COLUMN waits TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE calls ADD COLUMN cost_listed INTEGER;
    ALTER TABLE calls ADD COLUMN cost_charged INTEGER;
    ALTER TABLE calls ADD COLUMN price TEXT;
    ALTER TABLE calls ADD COLUMN caller_program TEXT;
    ALTER TABLE calls ADD COLUMN caller_pid INTEGER;
    ALTER TABLE calls ADD COLUMN caller_directory TEXT;
    ALTER TABLE calls ADD COLUMN repo TEXT;
    ALTER TABLE calls ADD COLUMN branch TEXT;
    """,
)
"""Step n leads from schema version n to n + 1. A released step never changes: add another."""
