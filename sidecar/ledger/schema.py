"""The tables of a new ledger file.

No column holds a prompt, an answer or a secret. Money is whole nano-dollars (10^-9 USD), times
are seconds since the epoch, durations are seconds; a `day` is a date in the file's time zone as it
was when the call was written. NULL is unknown: a sum of nothing but unknown figures is NULL, too.

`under_way` has the columns of `calls`, in their order. `part_figures` moves the usage of another
model from the row of the call's own model to that one: two rows a part, which cancel out.
`objects.claim` is set while the usage of the created object is not known.
"""

from __future__ import annotations

SCHEMA = """
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
        claim TEXT,
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
        program TEXT NOT NULL,
        waits TEXT NOT NULL,
        cost_listed INTEGER,
        cost_charged INTEGER,
        price TEXT,
        caller_program TEXT,
        caller_pid INTEGER,
        caller_directory TEXT,
        repo TEXT,
        branch TEXT,
        urgency TEXT NOT NULL,
        day TEXT NOT NULL,
        cost_whole INTEGER NOT NULL,
        parts TEXT NOT NULL,
        transform TEXT NOT NULL
    );
    CREATE INDEX calls_by_time ON calls (started);
    CREATE INDEX calls_by_key ON calls (key, started);

    CREATE TABLE counts (
        name TEXT PRIMARY KEY,
        begun REAL NOT NULL,
        used INTEGER NOT NULL
    ) WITHOUT ROWID;

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
        partial_calls INTEGER NOT NULL,
        PRIMARY KEY (day, key, group_name, provider, model, program, repo, branch)
    ) WITHOUT ROWID;

    CREATE TABLE programs (
        key TEXT NOT NULL,
        program TEXT NOT NULL,
        first_seen REAL NOT NULL,
        last_seen REAL NOT NULL,
        PRIMARY KEY (key, program)
    ) WITHOUT ROWID;

    CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

    CREATE TABLE under_way AS SELECT * FROM calls WHERE 0;
    CREATE UNIQUE INDEX under_way_by_id ON under_way (call_id);
    CREATE TRIGGER call_ended AFTER INSERT ON calls BEGIN
        DELETE FROM under_way WHERE call_id = NEW.call_id;
    END;

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
"""
