"""The database: connections, schema, the batch writer, and every line of SQL.

Nothing outside this package imports apsw, contains SQL, or knows what a rowid is.
"""
