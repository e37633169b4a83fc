"""Reports over the ledger, for the commands and the console.

    with open_to_read(state) as ledger:  # sidecar.ledger.reader: one snapshot
        day = today(ledger, time.time())                      # activity: today in its time zone
        by = (Dimension.KEY, Dimension.MODEL)
        lines = usage(ledger, UsageQuery(by, Days(day, day)))  # usage: tokens and cost
        rows = [row(by, line) for line in lines]              # export: the columns of JSON and CSV

| module | provides |
|---|---|
| `usage` | grouped and filtered usage: `usage`, and `usage_by_day` for curves |
| `sums` | the sums of a row |
| `export` | rows as data: `row`, `as_json`, `as_csv` |
| `activity` | recent activity of keys: `recent` days, `programs` |
| `trace` | calls: the `latest`, the record of one (`trace_of`), its text (`describe_call`) |

`sidecar.ledger.anomalies.find_spikes` belongs with them. Every function takes a connection, only
reads, and blocks for milliseconds (a second, where it adds up a million calls): an event loop calls
it in a thread, after `Ledger.flush` if the last second matters. Money is whole nano-dollars until
it is printed. An unknown figure is None and never 0.
"""
