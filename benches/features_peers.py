"""The twelve window features of the Fraud Detection Handbook in pandas, DuckDB and PySpark, on one core each.

    python benches/features_peers.py FILE.parquet VALUES

FILE has the columns transaction_id, occurred_at, customer_id, terminal_id, amount_minor, fraud, in the order of time. VALUES holds
what Affluent computed of it: row by row as in the file, twelve little-endian doubles each. `affluent bench features --peers`
writes it and runs this.

Prints a line of JSON for each peer: version, seconds by the clock and of the processor (its Java virtual machine included), and how
many values of each feature differ from those of Affluent. What is timed begins with the file in the memory of the peer and ends with all
values there. A peer that cannot be run says why under "error"; without pandas, by which the values are checked, nothing is done.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

DAYS = (1, 7, 30)
DELAY = 7
DAY_US = 86_400_000_000
COLUMNS = ["transaction_id", "occurred_at", "customer_id", "terminal_id", "amount_minor", "fraud"]


class Watch:
    """Seconds by the clock and of the processor: of this process, and of another where one is named."""

    def __init__(self, other: int | None = None) -> None:
        self.other = other
        self.seconds = self.processor = 0.0

    def _processor(self) -> float:
        used = time.process_time()
        if self.other is not None:
            fields = Path(f"/proc/{self.other}/stat").read_text().rsplit(") ", 1)[1].split()
            used += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return used

    @contextmanager
    def running(self) -> Iterator[None]:
        began, used = time.perf_counter(), self._processor()
        yield
        self.seconds, self.processor = time.perf_counter() - began, self._processor() - used


def with_pandas(file: str) -> tuple[str, Watch, np.ndarray]:
    """Rolling windows over groups: a window ends with its row, whatever has the same time after it."""
    payments = pd.read_parquet(file, columns=COLUMNS)
    values = np.full((len(payments), 12), np.nan)
    watch = Watch()
    with watch.running():
        for key, column in (("customer_id", "amount_minor"), ("terminal_id", "fraud")):
            # Sorted by key, the windows come in the order of the rows.
            of = payments[[key, "occurred_at", column]].sort_values(key, kind="stable")
            place = of.index.to_numpy()

            def window(days: int) -> tuple[np.ndarray, np.ndarray]:
                rolling = of.groupby(key).rolling(f"{days}D", on="occurred_at")[column]
                return rolling.count().to_numpy(), rolling.sum().to_numpy()

            if key == "customer_id":
                for nth, days in enumerate(DAYS):
                    count, amount = window(days)
                    values[place, nth], values[place, 3 + nth] = count, amount / count
            else:
                unknown_count, unknown_fraud = window(DELAY)
                for nth, days in enumerate(DAYS):
                    count, fraud = window(DELAY + days)
                    count, fraud = count - unknown_count, fraud - unknown_fraud
                    values[place, 6 + nth] = count
                    values[place, 9 + nth] = np.where(count > 0, fraud / np.maximum(count, 1), 0)
    return pd.__version__, watch, values


def question(micros: str, table: str) -> str:
    """The features in SQL, in the order of the columns of VALUES; rows of one time see each other."""
    windows, columns = [], ["transaction_id"]
    for days in DAYS:
        windows.append(
            f"c{days} as (partition by customer_id order by t range between {days * DAY_US - 1} preceding and current row)"
        )
        windows.append(
            f"t{days} as (partition by terminal_id order by t range between {(DELAY + days) * DAY_US - 1} preceding"
            f" and {DELAY * DAY_US} preceding)"
        )
    columns += [f"cast(count(*) over c{days} as double) as a{days}" for days in DAYS]
    columns += [f"cast(sum(amount_minor) over c{days} as double) / count(*) over c{days} as b{days}" for days in DAYS]
    columns += [f"cast(count(*) over t{days} as double) as c{days}" for days in DAYS]
    columns += [
        f"case when count(*) over t{days} = 0 then 0.0e0 else cast(sum(fraud) over t{days} as double) / count(*) over t{days} end"
        f" as d{days}"
        for days in DAYS
    ]
    source = f"(select *, {micros} as t from {table}) as payments"
    return f"select {', '.join(columns)} from {source} window {', '.join(windows)}"


def in_order_of(ids: np.ndarray, table) -> np.ndarray:
    """The values of an Arrow table whose first column is the payment's id, in the order of `ids`."""
    found = np.argsort(table.column(0).to_numpy(), kind="stable")
    wanted = np.argsort(ids, kind="stable")
    values = np.empty((len(ids), 12))
    for nth in range(12):
        values[wanted, nth] = table.column(nth + 1).to_numpy()[found]
    return values


def with_duckdb(file: str) -> tuple[str, Watch, np.ndarray]:
    """Window functions over ranges, on one thread."""
    import duckdb

    connection = duckdb.connect(config={"threads": 1})
    connection.execute(f"create table payments as select {', '.join(COLUMNS)} from read_parquet(?)", [file])
    watch = Watch()
    with watch.running():
        connection.execute(f"create table features as {question('epoch_us(occurred_at)', 'payments')}")
    ids = connection.execute("select transaction_id from payments").fetchnumpy()["transaction_id"]
    table = connection.sql("select * from features").to_arrow_table()
    return duckdb.__version__, watch, in_order_of(ids, table)


def with_pyspark(file: str) -> tuple[str, Watch, np.ndarray]:
    """The same question, on one task at a time; the answer is kept in Spark's cache."""
    import pyspark
    from pyspark.sql import SparkSession

    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "4g",
        "spark.driver.maxResultSize": "0",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "100000",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = SparkSession.builder.master("local[1]").appName("features_peers")
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    try:
        payments = spark.read.parquet(file).select(*COLUMNS).coalesce(1).cache()
        payments.count()
        payments.createOrReplaceTempView("payments")
        asked = spark.sql(question("unix_micros(cast(occurred_at as timestamp))", "payments")).cache()
        watch = Watch(spark.sparkContext._gateway.proc.pid)
        with watch.running():
            asked.count()
        ids = pq.read_table(file, columns=["transaction_id"]).column(0).to_numpy()
        return pyspark.__version__, watch, in_order_of(ids, asked.toArrow())
    finally:
        spark.stop()


PEERS: dict[str, Callable[[str], tuple[str, Watch, np.ndarray]]] = {
    "pandas": with_pandas,
    "duckdb": with_duckdb,
    "pyspark": with_pyspark,
}


def main(file: str, values: str) -> None:
    ours = np.fromfile(values, "<f8").reshape(-1, 12)
    for name, compute in PEERS.items():
        answer: dict[str, object] = {"peer": name}
        try:
            version, watch, theirs = compute(file)
            answer |= {
                "version": version,
                "rows": len(theirs),
                "seconds": watch.seconds,
                "processor_seconds": watch.processor,
                "differ": (ours != theirs).sum(axis=0).tolist(),
            }
        except Exception as error:  # a missing package or Java, whatever the peer itself says
            answer["error"] = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
