//! pyiceberg and DuckDB as independent readers.

use affluent_testkit::RestCatalog;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// `open_catalog` for the other scripts, and what goes before the name of a table.
const OPEN: &str = r#"
import json, sys
PLACE = json.loads(sys.argv[1])
PREFIX = PLACE["namespace"] + "." if PLACE["url"] else ""
PROPERTIES = PLACE.get("properties", {})
def open_catalog():
    if PLACE["url"]:
        from pyiceberg.catalog.rest import RestCatalog
        return RestCatalog("affluent", uri=PLACE["url"])
    from pyiceberg.catalog.sql import SqlCatalog
    warehouse = PLACE["warehouse"]
    return SqlCatalog("affluent", uri="sqlite:///" + warehouse + "/catalog.db", warehouse=warehouse, **PROPERTIES)
"#;

const SCRIPT: &str = r#"
from decimal import Decimal
ask = json.loads(sys.argv[2])
table = open_catalog().load_table(PREFIX + ask["table"])
scan = {}
if ask.get("snapshot"):
    scan["snapshot_id"] = ask["snapshot"]
if ask.get("filter"):
    scan["row_filter"] = ask["filter"]
data = table.scan(**scan).to_arrow()
answer = {"rows": data.num_rows, "types": {f.name: str(f.type) for f in data.schema},
          "files": len(table.inspect.files()), "snapshots": len(table.metadata.snapshots),
          "properties": table.properties}
if ask.get("duckdb"):
    # The same question to DuckDB: it is given the metadata file that the catalog names.
    import duckdb, glob, importlib.util, os
    con = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for name in ["avro", "iceberg"]:
        for root in importlib.util.find_spec("duckdb_ext").submodule_search_locations:
            for path in glob.glob(os.path.join(root, "extensions", "*", "*", name + ".duckdb_extension")):
                con.execute(f"LOAD '{path}'")
    at = f", snapshot_from_id={ask['snapshot']}" if ask.get("snapshot") else ""
    where = f"iceberg_scan('{table.metadata_location}'{at})"
    by, column = ask["sum"]
    answer["duckdb"] = {
        "rows": con.execute(f"select count(*) from {where}").fetchone()[0],
        "sums": {str(key): str(value) for key, value in con.execute(
            f"select {by}, sum({column}) from {where} where {column} is not null group by 1").fetchall()}}
if ask.get("sum"):
    by, column = ask["sum"]
    sums = {}
    for key, value in zip(data[by].to_pylist(), data[column].to_pylist()):
        if value is not None:
            sums[str(key)] = sums.get(str(key), Decimal(0)) + value
    answer["sums"] = {key: str(value) for key, value in sums.items()}
if ask.get("groups"):
    # Of each row group that the filter's files have: least and greatest value of the columns, rows.
    import pyarrow.parquet
    answer["sort_order"] = [table.schema().find_column_name(f.source_id) for f in table.sort_order().fields]
    answer["sorted_files"] = [f["sort_order_id"] for f in table.inspect.files().to_pylist()]
    answer["groups"] = []
    for task in table.scan(**scan).plan_files():
        footer = pyarrow.parquet.ParquetFile(task.file.file_path.removeprefix("file://")).metadata
        groups = []
        for g in range(footer.num_row_groups):
            group = footer.row_group(g)
            columns = {group.column(c).path_in_schema: group.column(c).statistics for c in range(group.num_columns)}
            bounds = [[columns[c].min, columns[c].max] for c in ask["groups"]]
            groups.append({"bounds": bounds, "rows": group.num_rows})
        answer["groups"].append(groups)
if ask.get("values"):
    answer["values"] = data.to_pylist()
print(json.dumps(answer, default=str))
"#;

/// Where the tables of `warehouse` are found.
fn place(warehouse: &Path) -> Value {
    let place = RestCatalog::of(warehouse);
    let (url, namespace) = place.map(|place| (place.url, place.namespace)).unwrap_or_default();
    json!({"warehouse": warehouse.to_str().unwrap(), "url": url, "namespace": namespace})
}

/// Runs a script of pyiceberg's behind [`OPEN`]; what it prints.
fn run(place: &Value, script: &str, argument: &str) -> Vec<u8> {
    let python = std::env::var("AFFLUENT_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(&python)
        .args(["-c", &format!("{OPEN}{script}"), &place.to_string(), argument])
        .output()
        .unwrap_or_else(|error| panic!("{python}: {error}; `make setup` installs what tests need"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        !stderr.contains("ModuleNotFoundError"),
        "{python} lacks pyiceberg: run `make setup` and set AFFLUENT_TEST_PYTHON\n{stderr}"
    );
    assert!(output.status.success(), "pyiceberg failed on {argument}:\n{stderr}");
    output.stdout
}

/// Lets pyiceberg work on a table, which `script` finds as `table`.
pub(crate) fn change(warehouse: &Path, table: &str, script: &str) {
    let open = "table = open_catalog().load_table(PREFIX + sys.argv[2])\n";
    run(&place(warehouse), &format!("{open}{script}"), table);
}

/// Asks pyiceberg about a table of the lake in `warehouse`. Keys of `ask`: `table`, `snapshot`,
/// `filter`, `sum` (`[by, column]`), `duckdb` (the sums by DuckDB too), `values`, `groups` (columns whose statistics are asked for).
pub(crate) fn ask(warehouse: &Path, ask: Value) -> Value {
    serde_json::from_slice(&run(&place(warehouse), SCRIPT, &ask.to_string())).unwrap()
}

/// The same of a lake in a bucket, with its SQLite catalog in `directory`; `properties` are pyiceberg's, of the bucket's server.
#[allow(dead_code, reason = "not all tests have a bucket")]
pub(crate) fn ask_bucket(directory: &Path, properties: Value, ask: Value) -> Value {
    let place = json!({
        "warehouse": directory.to_str().unwrap(), "url": "", "namespace": "", "properties": properties,
    });
    serde_json::from_slice(&run(&place, SCRIPT, &ask.to_string())).unwrap()
}
