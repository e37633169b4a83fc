"""The configuration in force: its model, how it is read, edited and reloaded."""
