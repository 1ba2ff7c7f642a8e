"""What a sink of Kafka Connect has stored, as JSON.

    ask.py mongodb URI DATABASE COLLECTION     {id: amount}
    ask.py iceberg URI TABLE                   {operation: {id: how often}}
"""

import collections
import json
import sys

kind, uri, *rest = sys.argv[1:]
if kind == "mongodb":
    import pymongo

    database, collection = rest
    documents = pymongo.MongoClient(uri)[database][collection].find({})
    print(json.dumps({str(found["id"]): found.get("amount") for found in documents}))
else:
    from pyiceberg.catalog.rest import RestCatalog
    from pyiceberg.exceptions import NoSuchTableError

    found = collections.defaultdict(collections.Counter)
    try:
        table = RestCatalog("affluent", uri=uri).load_table(rest[0])
        for row in table.scan().to_arrow().to_pylist():
            found[row["_cdc"]["op"]][str(row["id"])] += 1
    except NoSuchTableError:
        pass
    print(json.dumps(found))
