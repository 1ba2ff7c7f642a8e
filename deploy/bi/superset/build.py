#!/usr/bin/env python3
"""Makes the bundle of dashboards that Superset imports, out of charts.toml and the SQL files of deploy/bi.

    build.py OUT.zip [--uri postgresql+psycopg2://affluent@127.0.0.1:5433/affluent]

Needs Python 3.11 and nothing else. The same input gives the same ids, so a bundle that is imported again replaces the
one before. Files are YAML as JSON writes it.
"""

import argparse
import json
import tomllib
import uuid
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
# Ids are names within this namespace.
NAMESPACE = uuid.UUID("7d0c0c86-4a1e-5f5e-9c39-0a55bf0d5b8c")
URI = "postgresql+psycopg2://affluent@127.0.0.1:5433/affluent"
VERSION = "1.0.0"
# Columns of a dashboard's grid, and the height of a chart in its units.
GRID = 12
HEIGHT = 50
ROWS_MAX = 1000
TIMES = ("DATE", "TIMESTAMP WITH TIME ZONE")
VISUALS = {
    "bar": "echarts_timeseries_bar",
    "line": "echarts_timeseries_line",
    "table": "table",
    "funnel": "funnel",
}


def named(kind: str, name: str) -> str:
    return str(uuid.uuid5(NAMESPACE, f"{kind}:{name}"))


def database(uri: str) -> dict:
    return {
        "database_name": "Affluent",
        "sqlalchemy_uri": uri,
        "cache_timeout": 60,
        "expose_in_sqllab": True,
        "allow_run_async": False,
        "allow_ctas": False,
        "allow_cvas": False,
        "allow_dml": False,
        "extra": {},
        "uuid": named("database", "affluent"),
        "version": VERSION,
    }


def dataset(chart: dict) -> dict:
    """A virtual dataset: the query is the table."""
    query = chart["query"]
    times = [name for name, kind in chart["columns"].items() if kind in TIMES]
    columns = [
        {"column_name": name, "type": kind, "is_dttm": kind in TIMES, "is_active": True, "groupby": True, "filterable": True}
        for name, kind in chart["columns"].items()
    ]
    return {
        "table_name": query.replace("/", "_"),
        "main_dttm_col": times[0] if times else None,
        "description": chart["title"],
        "offset": 0,
        "cache_timeout": None,
        "schema": "dwh",
        "sql": (HERE.parent / f"{query}.sql").read_text(),
        "filter_select_enabled": True,
        "uuid": named("dataset", query),
        "columns": columns,
        "metrics": [],
        "version": VERSION,
        "database_uuid": named("database", "affluent"),
    }


def metric(column: str) -> dict:
    return {"expressionType": "SQL", "sqlExpression": f"sum({column})", "label": column, "optionName": f"metric_{column}"}


def parameters(chart: dict) -> dict:
    kind = chart["kind"]
    base = {"viz_type": VISUALS[kind], "adhoc_filters": [], "row_limit": ROWS_MAX}
    if kind == "table":
        return base | {"query_mode": "raw", "all_columns": list(chart["columns"]), "order_by_cols": [], "table_timestamp_format": "smart_date"}
    if kind == "funnel":
        return base | {"groupby": [chart["x"]], "metric": metric(chart["y"][0]), "sort_by_metric": True, "show_legend": False}
    return base | {
        "x_axis": chart["x"],
        "metrics": [metric(column) for column in chart["y"]],
        "groupby": [chart["by"]] if "by" in chart else [],
        "x_axis_sort_asc": True,
        "y_axis_format": "SMART_NUMBER",
        "show_legend": len(chart["y"]) > 1 or "by" in chart,
        "rich_tooltip": True,
        "time_range": "No filter",
        "stack": "Stack" if kind == "bar" and "by" in chart else None,
    }


def slice_of(chart: dict) -> dict:
    return {
        "slice_name": chart["title"],
        "viz_type": VISUALS[chart["kind"]],
        "params": parameters(chart),
        "query_context": None,
        "cache_timeout": None,
        "uuid": named("chart", chart["query"]),
        "version": VERSION,
        "dataset_uuid": named("dataset", chart["query"]),
    }


def rows_of(charts: list[dict]) -> list[list[dict]]:
    """Charts beside each other as long as the grid has room."""
    rows, room = [], 0
    for chart in charts:
        if chart["width"] > room:
            rows.append([])
            room = GRID
        rows[-1].append(chart)
        room -= chart["width"]
    return rows


def dashboard(name: str, charts: list[dict], first_id: int) -> dict:
    position = {
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
        "GRID_ID": {"type": "GRID", "id": "GRID_ID", "parents": ["ROOT_ID"], "children": []},
        "HEADER_ID": {"type": "HEADER", "id": "HEADER_ID", "meta": {"text": name.capitalize()}},
    }
    # The id of a chart is replaced by the one that it gets; it only has to be another for each.
    number = first_id
    for place, row in enumerate(rows_of(charts)):
        row_id = f"ROW-{name}-{place}"
        parents = ["ROOT_ID", "GRID_ID"]
        position["GRID_ID"]["children"].append(row_id)
        children = []
        for chart in row:
            chart_id = f"CHART-{chart['query'].replace('/', '-')}"
            children.append(chart_id)
            position[chart_id] = {
                "type": "CHART",
                "id": chart_id,
                "parents": [*parents, row_id],
                "children": [],
                "meta": {
                    "chartId": number,
                    "uuid": named("chart", chart["query"]),
                    "sliceName": chart["title"],
                    "width": chart["width"],
                    "height": HEIGHT,
                },
            }
            number += 1
        position[row_id] = {
            "type": "ROW",
            "id": row_id,
            "parents": parents,
            "children": children,
            "meta": {"background": "BACKGROUND_TRANSPARENT"},
        }
    return {
        "dashboard_title": f"Affluent: {name}",
        "description": None,
        "css": "",
        "slug": f"affluent-{name}",
        "uuid": named("dashboard", name),
        "position": position,
        "metadata": {"refresh_frequency": 60, "color_scheme": "supersetColors", "cross_filters_enabled": True},
        "published": True,
        "version": VERSION,
    }


def bundle(uri: str) -> dict[str, dict]:
    """File to content."""
    charts = tomllib.loads((HERE / "charts.toml").read_text())["charts"]
    files = {
        "metadata.yaml": {"version": VERSION, "type": "Dashboard", "timestamp": "2026-01-01T00:00:00+00:00"},
        "databases/affluent.yaml": database(uri),
    }
    dashboards: dict[str, list[dict]] = {}
    for chart in charts:
        file = chart["query"].replace("/", "_")
        files[f"datasets/affluent/{file}.yaml"] = dataset(chart)
        files[f"charts/{file}.yaml"] = slice_of(chart)
        dashboards.setdefault(chart["query"].split("/")[0], []).append(chart)
    first_id = 1
    for name, of_dashboard in dashboards.items():
        files[f"dashboards/{name}.yaml"] = dashboard(name, of_dashboard, first_id)
        first_id += len(of_dashboard)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="the bundle, a zip file")
    parser.add_argument("--uri", default=URI, help=f"the endpoint, as SQLAlchemy names it [default: {URI}]")
    arguments = parser.parse_args()
    with zipfile.ZipFile(arguments.out, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in bundle(arguments.uri).items():
            # A file's time is no part of it.
            entry = zipfile.ZipInfo(f"affluent/{name}", date_time=(2026, 1, 1, 0, 0, 0))
            out.writestr(entry, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
