"""The warehouse's own models as queries for other engines: header and body of each file, in the order of their use.

Tables are named `zone_name` in the queries, since views of a session have no schemas in Spark.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

import sqlglot
from sqlglot import exp

# DuckDB's grammar reads all that the models use of DataFusion's.
DIALECT = "duckdb"
TASKS = ["clean", "deduplicate", "enrich", "load"]
REJECTED = "ops.rejected"
# Namespace of the newest change of each unit of a staged table.
NEWEST = "newest"


@dataclass
class Model:
    table: str
    header: dict
    body: exp.Expression
    reads: set[str]

    @property
    def partition(self) -> str | None:
        """The time column by whose UTC day the table is divided."""
        return self.header.get("partition")

    def query(self) -> exp.Expression:
        """The query of a rebuild: of a staged table without the raw rows that a rule refuses, `newest.x` by its definition."""
        body = self.body.copy()
        for newest in [table for table in body.find_all(exp.Table) if table.db == NEWEST]:
            newest.replace(parse(f"select * from ({self.newest(newest.name)}) as {newest.alias_or_name}").find(exp.Subquery))
        if self.header.get("rules"):
            for raw in [table for table in body.find_all(exp.Table) if table.db == "raw"]:
                rows = f"(select * from {raw.db}.{raw.name} where not {self.refused()})"
                raw.replace(parse(f"select * from {rows} as {raw.alias_or_name}").find(exp.Subquery))
        return body

    def newest(self, name: str) -> str:
        """The newest change of each unit of a staged table."""
        unit = list(self.header.get("unit") or self.header["key"])
        present = " and ".join(f"{column} is not null" for column in [*unit, "_lsn"])
        return (
            f"select * from (select *, row_number() over (partition by {', '.join(unit)} order by _lsn desc, _ordinal desc, "
            f"_kafka_partition, _kafka_offset, _kafka_topic) as nth from staged.{name} where {present}) as n where nth = 1"
        )

    def refused(self) -> str:
        """The condition that a rule refuses a raw row."""
        rules = " or ".join(f"({rule['when']})" for rule in self.header["rules"])
        return f"coalesce({rules}, false)"

    def rejected(self) -> str:
        """The raw rows that a rule refuses, with the first that does."""
        rules = " ".join(f"when {rule['when']} then '{rule['name']}'" for rule in self.header["rules"])
        raw = next(table for table in self.reads if table.startswith("raw."))
        return (
            f"select '{self.table}' as model, case {rules} end as rule, current_timestamp as rejected_at, "
            f"_kafka_topic, _kafka_partition, _kafka_offset, row_as_json(r) as row from {raw} r where {self.refused()}"
        )


def parse(query: str) -> exp.Expression:
    return sqlglot.parse_one(query, read=DIALECT)


def load(directory: Path) -> list[Model]:
    """The models below `directory`, each behind those that it reads; of those that can come the one of the earliest task."""
    left = {}
    for file in sorted(directory.glob("*/*.sql")):
        header, body = file.read_text().removeprefix("/*").split("*/", 1)
        body = parse(body)
        tables = [table for table in body.find_all(exp.Table) if table.db]
        reads = {f"{'staged' if table.db == NEWEST else table.db}.{table.name}" for table in tables}
        table = f"{file.parent.name}.{file.stem}"
        left[table] = Model(table, tomllib.loads(header), body, reads)
    ordered = []
    while left:
        ready = [model for model in left.values() if not model.reads & left.keys()]
        model = min(ready, key=lambda model: (TASKS.index(model.header["task"]), model.table))
        ordered.append(left.pop(model.table))
    return ordered


def refused_rows(models: list[Model]) -> exp.Expression:
    """The rows of `ops.rejected`."""
    return parse(" union all ".join(model.rejected() for model in models if model.header.get("rules")))
