"""MERGE of 600,000 rows into ten million with deltalake: the same rows as in `affluent bench upsert`, which runs this
with `--peers`.

    python benches/upsert_peer.py DIRECTORY

Half of the 600,000 are spread over the whole table, half are new. The table is divided by day and zstd, as ours is;
with --flat it is not divided, which leaves deltalake fewer and larger files. Rows are made before the clock starts. The
table is read again after it and held against what it should have. Prints JSON.

deltalake does not wait for the disk; our commits do.
"""

import argparse
import json
import resource
import sys
import time

import deltalake
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ROWS = 10_000_000
CHANGED = 600_000
# Rows of a commit.
COMMIT = 1_000_000
# 2026-07-01T00:00:00Z; a row a second makes 116 days.
FIRST = 1_782_864_000_000_000


def rows(ids: np.ndarray, amount: int, flat: bool) -> pa.Table:
    unscaled = np.zeros((len(ids), 2), "<i8")
    unscaled[:, 0] = amounts(ids, amount)
    times = pa.array(FIRST + ids * 1_000_000).cast(pa.timestamp("us", "UTC"))
    columns = {
        "id": pa.array(ids),
        "at": times,
        "amount": pa.Array.from_buffers(pa.decimal128(18, 4), len(ids), [None, pa.py_buffer(unscaled)]),
        "currency": pa.array(np.array(["EUR", "USD", "JPY"])[ids % 3]),
    }
    # Delta divides by columns alone, Iceberg by what is computed of them.
    return pa.table(columns if flat else columns | {"day": pc.cast(times, pa.date32())})


def amounts(ids: np.ndarray, amount: int) -> np.ndarray:
    """In ten-thousandths."""
    return ids % 99_991 * amount


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies both numbers of rows")
    parser.add_argument("--flat", action="store_true", help="a table that is not divided by day")
    arguments = parser.parse_args()
    count, changed = int(ROWS * arguments.scale), int(CHANGED * arguments.scale)
    properties = deltalake.WriterProperties(compression="ZSTD")
    partition = None if arguments.flat else ["day"]
    began = time.perf_counter()
    for start in range(0, count, COMMIT):
        part = rows(np.arange(start, min(start + COMMIT, count)), 1, arguments.flat)
        deltalake.write_deltalake(
            arguments.directory, part, mode="append", partition_by=partition, writer_properties=properties
        )
    appended = time.perf_counter() - began
    half = changed // 2
    old, new = np.arange(half) * (count // half), np.arange(count, count + half)
    source = rows(np.concatenate([old, new]), 7, arguments.flat)
    table = deltalake.DeltaTable(arguments.directory)
    files = len(table.file_uris())
    began = time.perf_counter()
    merge = table.merge(source, "t.id = s.id", source_alias="s", target_alias="t", writer_properties=properties)
    metrics = merge.when_matched_update_all().when_not_matched_insert_all().execute()
    merged = time.perf_counter() - began
    resident_max = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    found = deltalake.DeltaTable(arguments.directory).to_pyarrow_table(columns=["id", "amount"])
    all_amounts = amounts(np.arange(count), 1)
    all_amounts[old] = amounts(old, 7)
    expected = count + half, int(all_amounts.sum() + amounts(new, 7).sum())
    is_right = (found.num_rows, int(pc.sum(found["amount"]).as_py().scaleb(4))) == expected
    report = {
        "engine": "deltalake",
        "version": deltalake.__version__,
        "rows": count,
        "changed": changed,
        "files": files,
        "append_seconds": appended,
        "merge_seconds": merged,
        "resident_max": resident_max,
        "is_right": is_right,
        "metrics": metrics,
    }
    print(json.dumps(report))
    return int(not is_right)


if __name__ == "__main__":
    sys.exit(main())
