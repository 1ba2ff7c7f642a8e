"""The rebuild of the warehouse by another engine: raw Parquet files in, the tables of every model out as Parquet.

    python benches/warehouse_peers duckdb  --data DATA_DIR --work EMPTY_DIR
    python benches/warehouse_peers pyspark --data DATA_DIR --work EMPTY_DIR --affluent BINARY --config FILE

DATA_DIR is the `data_dir` of a configuration of Affluent; only the raw zone of its lake is read (and, of clicks, which
the batch pipeline takes from the staged one, that). The models are those of the warehouse, translated by sqlglot.
Prints JSON: seconds altogether and per table, rows of each table, the sum of payments per currency, and the greatest
resident memory. With --affluent, what differs from Affluent's own tables, which are taken to be up to date: rows of
each table and the sums; with --compare, every row.
"""

import argparse
import json
import sys
import time
from decimal import Decimal
from pathlib import Path

import compare
import engines
import lake
import models

WAREHOUSE = Path(__file__).resolve().parents[2] / "crates" / "warehouse"
# The staged table that the platform itself makes, outside of the batch pipeline.
CLICKS = "staged.clickstream_events"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=engines.ENGINES)
    parser.add_argument("--data", type=Path, required=True, help="the data directory whose raw zone is read")
    parser.add_argument("--work", type=Path, required=True, help="where tables are written; must not exist yet")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--memory-gb", type=int, default=8)
    parser.add_argument("--affluent", help="the binary whose tables are compared with these")
    parser.add_argument("--config", help="its configuration")
    parser.add_argument("--compare", action="store_true", help="compare every row, not rows and sums alone")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True)
    report = run(arguments)
    print(json.dumps(report))
    return int(bool(report.get("differs")))


def run(arguments: argparse.Namespace) -> dict:
    all_models = models.load(WAREHOUSE / "models")
    began = time.perf_counter()
    engine = engines.ENGINES[arguments.engine](arguments.work.resolve(), arguments.cores, arguments.memory_gb)
    started = time.perf_counter()
    for file in sorted((WAREHOUSE / "seeds").glob("*.csv")):
        engine.read_csv(f"seed.{file.stem}", file)
    sources = sorted({table for model in all_models for table in model.reads if table.startswith("raw.")})
    for table in [*sources, CLICKS]:
        files = lake.files(arguments.data, table)
        if files:
            engine.read(table, files)
        else:
            engine.empty(table, models.parse(lake.no_rows(arguments.data, table)))
    work = [(models.REJECTED, models.refused_rows(all_models), None)]
    work += [(model.table, model.query(), model.partition) for model in all_models]
    seconds = {}
    for table, query, partition in work:
        since = time.perf_counter()
        engine.write(table, query, partition)
        seconds[table] = time.perf_counter() - since
        print(f"{arguments.engine}: {table} in {seconds[table]:.1f} s", file=sys.stderr)
    ended = time.perf_counter()
    resident_max = engine.resident_max()
    rows = {table: engine.rows(f"select count(*) from {table.replace('.', '_')}")[0][0] for table in seconds}
    payments = engine.rows("select currency, sum(amount) from curated_payments group by currency order by currency")
    report = {
        "engine": arguments.engine,
        "version": engine.version,
        "cores": arguments.cores,
        "memory_gb": arguments.memory_gb,
        "start_seconds": started - began,
        "seconds": ended - started,
        "resident_max": resident_max,
        "tables": [{"table": t, "seconds": s, "rows": rows[t]} for t, s in seconds.items()],
        "payments": {currency: str(amount) for currency, amount in payments},
    }
    if arguments.affluent:
        theirs = compare.Affluent(arguments.affluent, arguments.config)
        report["differs"] = theirs.differences(rows, {c: Decimal(a) for c, a in payments})
        if arguments.compare:
            report["differs"] += theirs.row_differences(arguments.work, rows)
    return report


if __name__ == "__main__":
    sys.exit(main())
