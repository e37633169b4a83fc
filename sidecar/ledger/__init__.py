"""Every finished call, stored in SQLite, and the reports over them."""
