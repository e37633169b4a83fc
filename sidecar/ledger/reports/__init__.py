"""Reports on the ledger: what the commands print and the console shows.

    with open_to_read(state) as books:  # sidecar.ledger.reader: one snapshot
        day = today(books, time.time())                    # activity: the day that the books have
        by = (Dimension.KEY, Dimension.MODEL)
        lines = usage(books, Question(by, Days(day, day)))  # usage: what was used and cost
        rows = [row(by, line) for line in lines]           # columns: as JSON and CSV have it

| module | answers |
|---|---|
| `usage` | what was used, told apart and narrowed: `usage`, and `usage_by_day` for curves |
| `sums` | what lines are made of, and how they add up |
| `columns` | lines as data: `row`, `as_json`, `as_csv` |
| `activity` | keys of late: `recent` days, `programs` and which are new |
| `trail` | calls: the `latest`, and everything about one |
| `story` | that in words: `tell` |

`sidecar.ledger.anomalies.find_spikes` belongs with them. Everything takes a connection, only reads,
and blocks for milliseconds (a second, where it has to add up a million single calls): an event loop
calls it in a thread, after `Ledger.flush` if the last moment matters. Money is whole nano-dollars
until it is printed; an unknown figure is None and never 0.
"""
