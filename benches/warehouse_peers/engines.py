"""The engines: each takes queries of the models, writes their tables as Parquet and shows them to the queries after.

Both are given the same cores and memory, write zstd, and divide by day the tables that the warehouse divides. They sort
nothing that a query does not ask to be sorted, keep no Bloom filters and do not wait for the disk; the warehouse does.
"""

import csv
import resource
from pathlib import Path

import translate
from sqlglot import exp

# The column by which files are divided; it is in the names of directories alone.
DAY = "day_of_file"


class DuckDB:
    """DuckDB in this process. Tables are views over their files."""

    def __init__(self, work: Path, cores: int, memory_gb: int):
        import duckdb

        self.version = duckdb.__version__
        self.work = work
        self.session = duckdb.connect(config={"threads": cores, "memory_limit": f"{memory_gb}GB"})
        for setting in (
            f"temp_directory = '{work / 'spilled'}'",
            "timezone = 'UTC'",
            # Rows need no order, and one file a day should not be closed for another.
            "preserve_insertion_order = false",
            "partitioned_write_max_open_files = 500",
        ):
            self.session.execute(f"set {setting}")

    def read(self, table: str, files: list[str]) -> None:
        self.view(table, f"select * from read_parquet({files}, hive_partitioning = false)")

    def read_csv(self, table: str, file: Path) -> None:
        self.view(table, f"select * from read_csv('{file}', header = true, all_varchar = true)")

    def empty(self, table: str, query: exp.Expression) -> None:
        self.view(table, translate.to("duckdb", query))

    def write(self, table: str, query: exp.Expression, partition: str | None) -> None:
        text = translate.to("duckdb", query)
        columns = self.session.execute(f"describe {text}").fetchall()
        # Sums of whole numbers are wider than any type of Parquet.
        wide = [f"cast({name} as bigint) as {name}" for name, data_type, *_ in columns if data_type == "HUGEINT"]
        rows = f"select * {'replace (' + ', '.join(wide) + ')' if wide else ''}"
        directory = self.work / table
        directory.mkdir(parents=True)
        target, options = directory / "rows.parquet", ""
        if partition:
            rows += f", cast({partition} as date) as {DAY}"
            target, options = directory, f", partition_by ({DAY})"
        self.session.execute(f"copy ({rows} from ({text})) to '{target}' (format parquet, compression zstd{options})")
        files = sorted(str(file) for file in directory.glob("**/*.parquet"))
        if files:
            self.read(table, files)
        else:
            self.view(table, f"select * from ({text}) where false")

    def rows(self, query: str) -> list[tuple]:
        return self.session.execute(query).fetchall()

    def resident_max(self) -> int:
        """Bytes of resident memory at the most."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def view(self, table: str, query: str) -> None:
        self.session.execute(f"create or replace view {table.replace('.', '_')} as {query}")


class PySpark:
    """Spark in one JVM, driver and executors in one. Tables are views over their files."""

    def __init__(self, work: Path, cores: int, memory_gb: int):
        import pyspark
        from pyspark.sql import SparkSession

        self.version = pyspark.__version__
        self.work = work
        settings = {
            "spark.driver.memory": f"{memory_gb}g",
            "spark.local.dir": str(work / "spilled"),
            "spark.sql.warehouse.dir": str(work / "spark-warehouse"),
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.sql.session.timeZone": "UTC",
            "spark.driver.extraJavaOptions": "-Duser.timezone=UTC",
            "spark.sql.parquet.compression.codec": "zstd",
            "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
            # The default of 200 is meant for a cluster; adaptive execution joins those that are small.
            "spark.sql.shuffle.partitions": str(16 * cores),
            # On a busy machine the only executor must not be taken for lost.
            "spark.network.timeout": "3600s",
            # Products of decimals keep their decimals, as in DataFusion and DuckDB.
            "spark.sql.decimalOperations.allowPrecisionLoss": "false",
        }
        builder = SparkSession.builder.master(f"local[{cores}]").appName("warehouse_peers")
        for name, value in settings.items():
            builder = builder.config(name, value)
        self.session = builder.getOrCreate()
        self.session.sparkContext.setLogLevel("ERROR")

    def read(self, table: str, files: list[str]) -> None:
        self.show(table, self.session.read.parquet(*files))

    def read_csv(self, table: str, file: Path) -> None:
        from pyspark.sql.types import StringType, StructField, StructType

        # Without their names here, a job of its own would read them.
        with file.open(newline="") as lines:
            schema = StructType([StructField(name, StringType()) for name in next(csv.reader(lines))])
        self.show(table, self.session.read.csv(str(file), header=True, escape='"', schema=schema))

    def empty(self, table: str, query: exp.Expression) -> None:
        self.show(table, self.session.sql(translate.to("spark", query)))

    def write(self, table: str, query: exp.Expression, partition: str | None) -> None:
        from pyspark.sql.functions import to_date

        rows = self.session.sql(translate.to("spark", query))
        schema = rows.schema
        directory = str(self.work / table)
        if partition:
            # Without this each task writes a file of its own for every day.
            rows = rows.withColumn(DAY, to_date(partition)).repartition(DAY)
            rows.write.partitionBy(DAY).parquet(directory)
        else:
            rows.write.parquet(directory)
        self.show(table, self.session.read.schema(schema).parquet(directory))

    def rows(self, query: str) -> list[tuple]:
        return [tuple(row) for row in self.session.sql(query).collect()]

    def resident_max(self) -> int:
        """Bytes of resident memory of the JVM at the most; this process only hands it queries."""
        process = self.session.sparkContext._jvm.java.lang.ProcessHandle.current().pid()
        status = Path(f"/proc/{process}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))

    def show(self, table: str, rows) -> None:
        rows.createOrReplaceTempView(table.replace(".", "_"))


ENGINES = {"duckdb": DuckDB, "pyspark": PySpark}
