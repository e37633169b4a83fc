-- A ledger of schema version 8, as Sidecar wrote it: calls with each class of attempt, one that ran.
PRAGMA application_id = 1396916562;
PRAGMA user_version = 8;
BEGIN TRANSACTION;
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
    , waits TEXT NOT NULL DEFAULT '[]', cost_listed INTEGER, cost_charged INTEGER, price TEXT, caller_program TEXT, caller_pid INTEGER, caller_directory TEXT, repo TEXT, branch TEXT, urgency TEXT NOT NULL DEFAULT '', day TEXT NOT NULL DEFAULT '', cost_whole INTEGER NOT NULL DEFAULT 1, parts TEXT NOT NULL DEFAULT '[]');
INSERT INTO "calls" VALUES('call_1',1800000000.0,'nightly','G','acme','openai','chat','POST','m-1','m-1-2026',1,'acme','env:ACME_KEY',200,'ok',NULL,'','[{"provider":"acme","credential":"env:ACME_KEY","model":"m-1","verdict":"take","status":200,"reason":"","duration":1.5}]',0.25,0.75,1.75,100,50,20,5,2,10,'{"images":1}','default','reported','s-1','codex/1.0','[{"behind":"tpm of group G (routes.yaml:7)","seconds":0.25}]',1250000,1125000,'list 2026-11-01','codex',4711,'/home/me/app','app','main','background','2027-01-15',1,'[]');
INSERT INTO "calls" VALUES('call_2',1800000001.0,'nightly','G','acme','openai','chat','POST','m-1','m-1-2026',1,'acme','env:ACME_KEY',200,'ok',NULL,'','[{"provider":"acme","credential":"env:ACME_KEY","model":"m-1","verdict":"take","status":429,"reason":"","duration":0.5},{"provider":"acme","credential":"env:ACME_KEY","model":"m-1","verdict":"client","status":429,"reason":"","duration":0.5},{"provider":"acme","credential":"env:ACME_KEY","model":"m-1","verdict":"slow_down","status":429,"reason":"said \"verdict\":\"take\"","duration":0.5},{"provider":"acme","credential":"env:ACME_KEY","model":"m-1","verdict":"overloaded","status":429,"reason":"","duration":0.5},{"provider":"acme","credential":"env:ACME_KEY","model":"m-1","verdict":"spent","status":429,"reason":"","duration":0.5},{"provider":"acme","credential":"env:ACME_KEY","model":"m-1","verdict":"credential","status":429,"reason":"","duration":0.5},{"provider":"acme","credential":"env:ACME_KEY","model":"m-1","verdict":"missing","status":429,"reason":"","duration":0.5},{"provider":"acme","credential":"env:ACME_KEY","model":"m-1","verdict":"failed","status":null,"reason":"","duration":0.5},{"provider":"acme","credential":"env:ACME_KEY","model":"m-1","verdict":"cancelled","status":null,"reason":"","duration":0.5}]',0.25,0.75,1.75,100,50,20,5,2,10,'{"images":1}','default','reported','s-1','codex/1.0','[{"behind":"tpm of group G (routes.yaml:7)","seconds":0.25}]',1250000,1125000,'list 2026-11-01','codex',4711,'/home/me/app','app','main','background','2027-01-15',1,'[]');
INSERT INTO "calls" VALUES('call_3',1800000002.0,'other','G','acme','openai','chat','POST','m-1',NULL,1,'','',429,'refused','budget_spent','budget','[]',0.25,0.75,1.75,NULL,NULL,NULL,NULL,NULL,NULL,'{}',NULL,'none','s-1','codex/1.0','[]',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'background','2027-01-15',1,'[]');
INSERT INTO "calls" VALUES('call_4',1800086400.0,'nightly','G','acme','openai','chat','POST','m-1','m-1-2026',1,'acme','env:ACME_KEY',200,'ok',NULL,'','[{"provider":"acme","credential":"env:ACME_KEY","model":"m-1","verdict":"take","status":200,"reason":"","duration":1.5}]',0.25,0.75,1.75,100,50,20,5,2,10,'{"images":1}','default','partial','s-1','codex/1.0','[{"behind":"tpm of group G (routes.yaml:7)","seconds":0.25}]',1250000,1125000,'list 2026-11-01','codex',4711,'/home/me/app','app','main','background','2027-01-16',1,'[]');
CREATE TABLE counts (
        name TEXT PRIMARY KEY,
        begun REAL NOT NULL,
        used INTEGER NOT NULL
    ) WITHOUT ROWID;
INSERT INTO "counts" VALUES('["key","nightly","tpd"]',1800000000.0,170);
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
        cost_charged INTEGER, partial_calls INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (day, key, group_name, provider, model, program, repo, branch)
    ) WITHOUT ROWID;
INSERT INTO "days" VALUES('2027-01-15','nightly','G','acme','m-1','codex','app','main',2,0,0,0,0,200,100,40,10,20,2500000,2250000,0);
INSERT INTO "days" VALUES('2027-01-15','other','G','','m-1','codex','','',1,0,0,0,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0);
INSERT INTO "days" VALUES('2027-01-16','nightly','G','acme','m-1','codex','app','main',1,0,0,0,0,100,50,20,5,10,1250000,1125000,1);
CREATE TABLE keys (
        name TEXT PRIMARY KEY,
        digest BLOB,
        last_seen REAL,
        last_used REAL,
        last_refused REAL,
        program TEXT NOT NULL
    ) WITHOUT ROWID;
INSERT INTO "keys" VALUES('nightly',NULL,1800000000.0,1800000000.0,1800000000.0,'codex/1.0');
INSERT INTO "keys" VALUES('other',NULL,1800000000.0,NULL,NULL,'');
CREATE TABLE objects (
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        provider TEXT NOT NULL,
        credential TEXT NOT NULL,
        group_name TEXT NOT NULL,
        created REAL NOT NULL, claim TEXT,
        PRIMARY KEY (kind, id)
    ) WITHOUT ROWID;
INSERT INTO "objects" VALUES('file','file_1','acme','env:ACME_KEY','G',1800000000.0,NULL);
CREATE TABLE programs (
        key TEXT NOT NULL,
        program TEXT NOT NULL,
        first_seen REAL NOT NULL,
        last_seen REAL NOT NULL,
        PRIMARY KEY (key, program)
    ) WITHOUT ROWID;
INSERT INTO "programs" VALUES('nightly','codex',1800000000.0,1800086400.0);
INSERT INTO "programs" VALUES('other','codex',1800000002.0,1800000002.0);
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "settings" VALUES('timezone','');
CREATE TABLE under_way(
  call_id TEXT,
  started REAL,
  "key" TEXT,
  group_name TEXT,
  vendor TEXT,
  dialect TEXT,
  endpoint TEXT,
  method TEXT,
  model_asked TEXT,
  model_served TEXT,
  streaming INT,
  provider TEXT,
  credential TEXT,
  status INT,
  outcome TEXT,
  refusal TEXT,
  reason TEXT,
  attempts TEXT,
  wait REAL,
  first_byte REAL,
  duration REAL,
  input_tokens INT,
  output_tokens INT,
  cache_read_tokens INT,
  cache_write_tokens INT,
  cache_write_1h_tokens INT,
  reasoning_tokens INT,
  units TEXT,
  service_tier TEXT,
  usage_state TEXT,
  session TEXT,
  program TEXT,
  waits TEXT,
  cost_listed INT,
  cost_charged INT,
  price TEXT,
  caller_program TEXT,
  caller_pid INT,
  caller_directory TEXT,
  repo TEXT,
  branch TEXT,
  urgency TEXT,
  day TEXT,
  cost_whole INT
, parts TEXT NOT NULL DEFAULT '[]');
INSERT INTO "under_way" VALUES('call_5',1800086401.0,'nightly','G','acme','openai','chat','POST','m-1','m-1-2026',1,'acme','env:ACME_KEY',200,'cut',NULL,'','[{"provider":"acme","credential":"env:ACME_KEY","model":"m-1","verdict":"spent","status":429,"reason":"","duration":0.5},{"provider":"acme","credential":"env:ACME_KEY","model":"m-1","verdict":"take","status":200,"reason":"","duration":0.5}]',0.25,0.75,1.75,NULL,NULL,NULL,NULL,NULL,NULL,'{}',NULL,'unknown','s-1','codex/1.0','[{"behind":"tpm of group G (routes.yaml:7)","seconds":0.25}]',NULL,NULL,NULL,'codex',4711,'/home/me/app','app','main','background','2027-01-16',1,'[]');
CREATE INDEX objects_by_time ON objects (created);
CREATE INDEX calls_by_time ON calls (started);
CREATE INDEX calls_by_key ON calls (key, started);
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
COMMIT;
