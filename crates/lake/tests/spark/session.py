"""Spark reads a table as it is and as it was, appends to it, and makes one of its own. Prints what it has read as JSON.

    session.py JAR CATALOG NAMESPACE SNAPSHOT

The tables are `payments` and `theirs` of the namespace; rows are those of tests/it/tables.rs.
"""

import json
import sys

from pyspark.sql import SparkSession

jar, catalog, namespace, snapshot = sys.argv[1:]
settings = {
    "spark.master": "local[1]",
    "spark.ui.enabled": "false",
    "spark.driver.memory": "1g",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.jars": jar,
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
    "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
    "spark.sql.catalog.lake.type": "rest",
    "spark.sql.catalog.lake.uri": catalog,
    "spark.sql.catalog.lake.io-impl": "org.apache.iceberg.hadoop.HadoopFileIO",
    "spark.sql.catalog.lake.cache-enabled": "false",
}
builder = SparkSession.builder
for key, value in settings.items():
    builder = builder.config(key, value)
spark = builder.getOrCreate()
payments = f"lake.{namespace}.payments"
theirs = f"lake.{namespace}.theirs"

ROWS = """select id, element_at(array('EUR', 'USD', 'JPY'), cast(id % 3 + 1 as int)) as currency,
    cast(cast(id * 12345 + 1 as decimal(20, 0)) / 10000 as decimal(18, 4)) as amount,
    timestamp_micros(1795305600000000 + id * 1000000) as at
    from range({}, {})"""


def sums(table):
    rows = spark.sql(f"select currency, count(*) as n, sum(amount) as total from {table} group by currency").collect()
    return [sum(row.n for row in rows), {row.currency: str(row.total) for row in rows}]


said = {"now": sums(payments), "then": sums(f"{payments} version as of {snapshot}")}
spark.sql(f"insert into {payments} (id, currency, amount, at) {ROWS.format(200, 260)}")
said["after"] = sums(payments)
spark.sql(
    f"create table {theirs} (id bigint, currency string, amount decimal(18, 4), at timestamp) using iceberg"
    " partitioned by (days(at))"
)
spark.sql(f"insert into {theirs} {ROWS.format(0, 50)}")
spark.sql(f"insert into {theirs} {ROWS.format(50, 100)}")
# Copy on write: whole files, as our own.
spark.sql(f"delete from {theirs} where id >= 80")
said["versions"] = spark.sql(f"select count(*) as n from {payments}.snapshots").collect()[0].n
print(json.dumps(said))
