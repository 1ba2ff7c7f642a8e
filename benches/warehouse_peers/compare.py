"""Whether tables equal those that Affluent itself has computed."""

import json
import subprocess
from decimal import Decimal
from pathlib import Path

import models


class Affluent:
    """The lake of a configuration, asked by `affluent sql`."""

    def __init__(self, binary: str, config: str):
        self.command = [binary, "--config", config, "sql", "--format", "json"]

    def ask(self, *arguments: str) -> str:
        return subprocess.run([*self.command, *arguments], check=True, capture_output=True, text=True).stdout

    def sql(self, query: str) -> list[dict]:
        return [json.loads(line) for line in self.ask(query).splitlines()]

    def differences(self, rows: dict[str, int], payments: dict[str, Decimal]) -> list[str]:
        """Of the rows of each table, and of the sums of payments per currency."""
        own = {table["table"]: table["rows"] for table in json.loads(self.ask("--tables"))}
        found = [f"{table}: {rows[table]} rows, {own.get(table)}" for table in rows if rows[table] != own.get(table, 0)]
        sums = self.sql("select currency, sum(amount) as amount from curated.payments group by currency")
        own_payments = {row["currency"]: Decimal(row["amount"]) for row in sums}
        if payments != own_payments:
            found.append(f"sums of payments: {payments}, {own_payments}")
        return found

    def row_differences(self, work: Path, rows: dict[str, int]) -> list[str]:
        """Tables with rows that only one side has, how many on each, and one of them."""
        import duckdb

        session = duckdb.connect(config={"threads": 2})
        session.execute("set timezone = 'UTC'")
        found = []
        for table in rows:
            files = [row["path"].removeprefix("file://") for row in self.sql(f"select path from {table}$files")]
            if not files or table == models.REJECTED:
                continue
            theirs = f"read_parquet({files}, hive_partitioning = false)"
            peer = f"read_parquet('{work / table}/**/*.parquet', hive_partitioning = false)"
            columns = session.execute(f"describe select * from {theirs}").fetchall()
            names = ", ".join(f'"{name}"' for name, *_ in columns)
            cast = ", ".join(f'cast("{name}" as {data_type}) as "{name}"' for name, data_type, *_ in columns)
            sides = f"select {names} from {theirs}", f"select {cast} from {peer}"
            for one, other, side in (*[(*sides, "Affluent's")], (*reversed(sides), "the peer's")):
                only = session.execute(f"select count(*), min(cast(r as varchar)) from ({one} except all {other}) r").fetchone()
                if only[0]:
                    found.append(f"{table}: {only[0]} rows are {side} alone: {only[1]}")
        return found
