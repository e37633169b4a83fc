"""The steps that bring a ledger file of an earlier version to the tables of `ledger.schema`.

Step n leads from schema version n to n + 1. A released step never changes: a change adds a step
here and is made in `SCHEMA`.
"""

from __future__ import annotations


def _rename_classes() -> str:
    """Return the SQL expression that replaces the old names of error classes in `attempts`.

    The JSON in that column is compact and escapes quotes inside texts: a text that a vendor wrote
    never matches.
    """
    expression = "attempts"
    for old, new in (
        ("take", "ok"),
        ("client", "client_error"),
        ("slow_down", "rate_limited"),
        ("spent", "quota_exhausted"),
        ("credential", "auth_failed"),
        ("missing", "model_not_found"),
    ):
        expression = f"""replace({expression}, '"verdict":"{old}"', '"verdict":"{new}"')"""
    return expression


_RENAMED_CLASSES = _rename_classes()

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
    """
    ALTER TABLE calls ADD COLUMN urgency TEXT NOT NULL DEFAULT '';
    ALTER TABLE calls ADD COLUMN day TEXT NOT NULL DEFAULT '';
    UPDATE calls SET day = date(started, 'unixepoch', 'localtime');

    CREATE VIEW call_figures AS SELECT
        rowid AS number,
        started,
        day,
        key,
        group_name,
        provider,
        coalesce(model_asked, '') AS model,
        CASE
            WHEN instr(program, '/') > 1 THEN substr(program, 1, instr(program, '/') - 1)
            WHEN program <> '' THEN program
            ELSE coalesce(caller_program, '')
        END AS program,
        coalesce(repo, '') AS repo,
        coalesce(branch, '') AS branch,
        coalesce(session, '') AS session,
        1 AS calls,
        usage_state = 'unknown' AS unknown_calls,
        usage_state IN ('reported', 'partial') AND cost_charged IS NULL AS unpriced_calls,
        usage_state <> 'none' AND cost_charged IS NULL AS uncosted_calls,
        usage_state = 'none' AS unused_calls,
        iif(usage_state = 'none', NULL, input_tokens) AS input_tokens,
        iif(usage_state = 'none', NULL, output_tokens) AS output_tokens,
        iif(usage_state = 'none', NULL, cache_read_tokens) AS cache_read_tokens,
        iif(usage_state = 'none', NULL, cache_write_tokens) AS cache_write_tokens,
        iif(usage_state = 'none', NULL, reasoning_tokens) AS reasoning_tokens,
        iif(usage_state = 'none', nullif(cost_listed, 0), cost_listed) AS cost_listed,
        iif(usage_state = 'none', nullif(cost_charged, 0), cost_charged) AS cost_charged
    FROM calls;

    CREATE TABLE days (
        day TEXT NOT NULL,
        key TEXT NOT NULL,
        group_name TEXT NOT NULL,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        program TEXT NOT NULL,
        repo TEXT NOT NULL,
        branch TEXT NOT NULL,
        calls INTEGER NOT NULL,
        unknown_calls INTEGER NOT NULL,
        unpriced_calls INTEGER NOT NULL,
        uncosted_calls INTEGER NOT NULL,
        unused_calls INTEGER NOT NULL,
        input_tokens INTEGER,
        output_tokens INTEGER,
        cache_read_tokens INTEGER,
        cache_write_tokens INTEGER,
        reasoning_tokens INTEGER,
        cost_listed INTEGER,
        cost_charged INTEGER,
        PRIMARY KEY (day, key, group_name, provider, model, program, repo, branch)
    ) WITHOUT ROWID;
    INSERT INTO days SELECT
        day, key, group_name, provider, model, program, repo, branch,
        sum(calls), sum(unknown_calls), sum(unpriced_calls), sum(uncosted_calls),
        sum(unused_calls),
        sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), sum(cache_write_tokens),
        sum(reasoning_tokens), sum(cost_listed), sum(cost_charged)
    FROM call_figures GROUP BY day, key, group_name, provider, model, program, repo, branch;

    CREATE TABLE programs (
        key TEXT NOT NULL,
        program TEXT NOT NULL,
        first_seen REAL NOT NULL,
        last_seen REAL NOT NULL,
        PRIMARY KEY (key, program)
    ) WITHOUT ROWID;
    INSERT INTO programs SELECT key, program, min(started), max(started)
    FROM call_figures WHERE key <> '' AND program <> '' GROUP BY key, program;

    CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    """,
    """
    ALTER TABLE calls ADD COLUMN cost_whole INTEGER NOT NULL DEFAULT 1;

    DROP VIEW call_figures;
    CREATE VIEW call_figures AS SELECT
        rowid AS number,
        started,
        day,
        key,
        group_name,
        provider,
        coalesce(model_asked, '') AS model,
        CASE
            WHEN instr(program, '/') > 1 THEN substr(program, 1, instr(program, '/') - 1)
            WHEN program <> '' THEN program
            ELSE coalesce(caller_program, '')
        END AS program,
        coalesce(repo, '') AS repo,
        coalesce(branch, '') AS branch,
        coalesce(session, '') AS session,
        1 AS calls,
        usage_state = 'unknown' AS unknown_calls,
        usage_state IN ('reported', 'partial') AND (cost_charged IS NULL OR NOT cost_whole)
            AS unpriced_calls,
        usage_state <> 'none' AND (cost_charged IS NULL OR NOT cost_whole) AS uncosted_calls,
        usage_state = 'none' AS unused_calls,
        iif(usage_state = 'none', NULL, input_tokens) AS input_tokens,
        iif(usage_state = 'none', NULL, output_tokens) AS output_tokens,
        iif(usage_state = 'none', NULL, cache_read_tokens) AS cache_read_tokens,
        iif(usage_state = 'none', NULL, cache_write_tokens) AS cache_write_tokens,
        iif(usage_state = 'none', NULL, reasoning_tokens) AS reasoning_tokens,
        iif(usage_state = 'none', nullif(cost_listed, 0), cost_listed) AS cost_listed,
        iif(usage_state = 'none', nullif(cost_charged, 0), cost_charged) AS cost_charged
    FROM calls;
    """,
    """
    CREATE TABLE under_way AS SELECT * FROM calls WHERE 0;
    CREATE UNIQUE INDEX under_way_by_id ON under_way (call_id);
    CREATE TRIGGER call_ended AFTER INSERT ON calls BEGIN
        DELETE FROM under_way WHERE call_id = NEW.call_id;
    END;
    """,
    """
    DROP VIEW call_figures;
    CREATE VIEW call_figures AS SELECT
        rowid AS number,
        started,
        day,
        key,
        group_name,
        provider,
        coalesce(model_asked, '') AS model,
        CASE
            WHEN instr(program, '/') > 1 THEN substr(program, 1, instr(program, '/') - 1)
            WHEN program <> '' THEN program
            ELSE coalesce(caller_program, '')
        END AS program,
        coalesce(repo, '') AS repo,
        coalesce(branch, '') AS branch,
        coalesce(session, '') AS session,
        1 AS calls,
        usage_state = 'unknown' AS unknown_calls,
        usage_state = 'partial' AS partial_calls,
        usage_state IN ('reported', 'partial') AND (cost_charged IS NULL OR NOT cost_whole)
            AS unpriced_calls,
        usage_state <> 'none' AND (cost_charged IS NULL OR NOT cost_whole) AS uncosted_calls,
        usage_state = 'none' AS unused_calls,
        iif(usage_state = 'none', NULL, input_tokens) AS input_tokens,
        iif(usage_state = 'none', NULL, output_tokens) AS output_tokens,
        iif(usage_state = 'none', NULL, cache_read_tokens) AS cache_read_tokens,
        iif(usage_state = 'none', NULL, cache_write_tokens) AS cache_write_tokens,
        iif(usage_state = 'none', NULL, reasoning_tokens) AS reasoning_tokens,
        iif(usage_state = 'none', nullif(cost_listed, 0), cost_listed) AS cost_listed,
        iif(usage_state = 'none', nullif(cost_charged, 0), cost_charged) AS cost_charged
    FROM calls;

    ALTER TABLE days ADD COLUMN partial_calls INTEGER NOT NULL DEFAULT 0;
    UPDATE days SET partial_calls = found.partial_calls FROM (
        SELECT day, key, group_name, provider, model, program, repo, branch,
            sum(partial_calls) AS partial_calls
        FROM call_figures WHERE partial_calls
        GROUP BY day, key, group_name, provider, model, program, repo, branch
    ) AS found
    WHERE days.day = found.day AND days.key = found.key
        AND days.group_name = found.group_name AND days.provider = found.provider
        AND days.model = found.model AND days.program = found.program
        AND days.repo = found.repo AND days.branch = found.branch;
    """,
    """
    ALTER TABLE calls ADD COLUMN parts TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE under_way ADD COLUMN parts TEXT NOT NULL DEFAULT '[]';

    CREATE INDEX calls_in_parts ON calls (started) WHERE parts <> '[]';

    CREATE VIEW part_figures AS SELECT
        whole.number,
        whole.started,
        whole.day,
        whole.key,
        whole.group_name,
        whole.provider,
        iif(side.sign > 0, json_extract(part.value, '$.model'), whole.model) AS model,
        whole.program,
        whole.repo,
        whole.branch,
        whole.session,
        side.sign * json_extract(part.value, '$.input_tokens') AS input_tokens,
        side.sign * json_extract(part.value, '$.output_tokens') AS output_tokens,
        side.sign * json_extract(part.value, '$.cache_read_tokens') AS cache_read_tokens,
        side.sign * json_extract(part.value, '$.cache_write_tokens') AS cache_write_tokens,
        side.sign * json_extract(part.value, '$.reasoning_tokens') AS reasoning_tokens,
        side.sign * json_extract(part.value, '$.cost_listed') AS cost_listed,
        side.sign * json_extract(part.value, '$.cost_charged') AS cost_charged
    FROM calls
    JOIN call_figures AS whole ON whole.number = calls.rowid
    JOIN json_each(calls.parts) AS part
    JOIN (SELECT 1 AS sign UNION ALL SELECT -1) AS side
    WHERE calls.parts <> '[]' AND json_extract(part.value, '$.model') IS NOT NULL;

    ALTER TABLE objects ADD COLUMN claim TEXT;
    """,
    f"""
    UPDATE calls SET attempts = {_RENAMED_CLASSES} WHERE attempts <> '[]';
    UPDATE under_way SET attempts = {_RENAMED_CLASSES} WHERE attempts <> '[]';
    """,  # noqa: S608 - constants
    """
    ALTER TABLE calls ADD COLUMN transform TEXT NOT NULL DEFAULT '';
    ALTER TABLE under_way ADD COLUMN transform TEXT NOT NULL DEFAULT '';
    """,
)

VERSION = len(MIGRATIONS)
"""The schema version that this code reads and writes (`PRAGMA user_version`)."""
