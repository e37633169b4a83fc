"""Turn the configuration of another gateway into one for Sidecar.

A file is read as values with lines, a reader of that gateway fills a draft from them, and the draft
is written as YAML and checked. Each value that no reader used is reported with its line.
"""
