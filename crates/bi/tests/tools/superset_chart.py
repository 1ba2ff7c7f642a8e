"""Makes a database, a dataset and a chart in Apache Superset, and asks for the chart's rows, all by its REST API."""

import json
import sys

import requests

base, uri = sys.argv[1:]
session = requests.Session()


def call(method, path, **body):
    answer = session.request(method, f"{base}/api/v1/{path}", json=body or None, timeout=120)
    assert answer.ok, (path, answer.status_code, answer.text)
    return answer.json()


login = call("POST", "security/login", username="admin", password="admin", provider="db", refresh=True)
session.headers["Authorization"] = f"Bearer {login['access_token']}"
session.headers["X-CSRFToken"] = call("GET", "security/csrf_token/")["result"]
session.headers["Referer"] = base
database = call("POST", "database/", database_name=f"affluent {uri}", sqlalchemy_uri=uri, expose_in_sqllab=True)["id"]
dataset = call("POST", "dataset/", database=database, schema="dwh", table_name="fact_payments")["id"]
columns = {c["column_name"]: c for c in call("GET", f"dataset/{dataset}")["result"]["columns"]}
assert columns["created_at"]["is_dttm"], columns
total = {"expressionType": "SIMPLE", "aggregate": "SUM", "column": columns["amount"], "label": "total"}
chart = {"viz_type": "table", "groupby": ["currency"], "metrics": [total], "datasource": f"{dataset}__table"}
call("POST", "chart/", slice_name="totals", viz_type="table", datasource_id=dataset, datasource_type="table",
     params=json.dumps(chart))
query = {"columns": ["currency"], "metrics": [total], "orderby": [["currency", True]], "row_limit": 100}
answer = call("POST", "chart/data", datasource={"id": dataset, "type": "table"}, queries=[query], result_format="json",
              result_type="full")
rows = answer["result"][0]["data"]
assert [(row["currency"], float(row["total"])) for row in rows] == [("EUR", 12.34), ("JPY", 2.5)], rows
print("done")
