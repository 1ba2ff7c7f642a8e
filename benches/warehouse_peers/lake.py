"""The tables of a lake as Iceberg's metadata has them: which Parquet files are read, and their columns."""

import json
from pathlib import Path

# Iceberg's primitive types as SQL has them, where the names differ.
SQL_TYPES = {"string": "varchar", "long": "bigint"}


def metadata(data: Path, table: str) -> dict:
    """The newest metadata of `zone.name` in the data directory of the platform."""
    zone, name = table.split(".")
    versions = sorted((data / "lake" / zone / name / "metadata").glob("*.metadata.json"))
    if not versions:
        raise SystemExit(f"there is no table {table} in {data}")
    return json.loads(versions[-1].read_text())


def files(data: Path, table: str) -> list[str]:
    """The data files of a table to which rows were only ever added; an error where it is not such a table."""
    zone, name = table.split(".")
    found = sorted(str(file) for file in (data / "lake" / zone / name / "data").glob("**/*.parquet"))
    of_table = metadata(data, table)
    current = [s for s in of_table.get("snapshots", []) if s["snapshot-id"] == of_table.get("current-snapshot-id")]
    expected = int(current[0]["summary"]["total-data-files"]) if current else 0
    if len(found) != expected:
        raise SystemExit(f"{table} has {expected} files, its directory {len(found)}: it was compacted or rewritten")
    return found


def no_rows(data: Path, table: str) -> str:
    """A query that yields the columns of a table and no row."""
    of_table = metadata(data, table)
    schema = next(s for s in of_table["schemas"] if s["schema-id"] == of_table["current-schema-id"])
    columns = (f"cast(null as {SQL_TYPES.get(f['type'], f['type'])}) as {f['name']}" for f in schema["fields"])
    return f"select {', '.join(columns)} where false"
