"""Data only: topics, records, configuration, columns, errors. Imports nothing of ours."""
