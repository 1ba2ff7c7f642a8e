"""Compares what the example `handbook` wrote with the same twelve features computed by pandas.

    cargo run -p affluent-features --example handbook -- FILE.parquet VALUES
    python crates/features/examples/handbook.py FILE.parquet VALUES
"""

import sys
import time

import numpy as np
import pandas as pd


def expected(payments: pd.DataFrame) -> np.ndarray:
    """Counts and means of 1, 7 and 30 days: of the customer, and of the terminal seven days earlier."""
    values = np.full((len(payments), 12), np.nan)
    payments = payments.assign(place=np.arange(len(payments))).set_index("occurred_at")
    for _, of in payments.groupby("customer_id"):
        for nth, days in enumerate((1, 7, 30)):
            window = of.amount_minor.rolling(f"{days}D")
            count = window.count()
            values[of.place, nth] = count
            values[of.place, 3 + nth] = window.sum() / count
    for _, of in payments.groupby("terminal_id"):
        unknown = of.fraud.rolling("7D")
        unknown_count, unknown_fraud = unknown.count(), unknown.sum()
        for nth, days in enumerate((1, 7, 30)):
            window = of.fraud.rolling(f"{7 + days}D")
            count, fraud = window.count() - unknown_count, window.sum() - unknown_fraud
            values[of.place, 6 + nth] = count
            values[of.place, 9 + nth] = np.where(count > 0, fraud / count.replace(0, 1), 0)
    return values


def main() -> int:
    payments = pd.read_parquet(sys.argv[1])
    found = np.fromfile(sys.argv[2], "<f8").reshape(len(payments), 12)
    began = time.process_time()
    differ = (found != expected(payments)).sum(axis=0)
    print(f"pandas: {time.process_time() - began:.1f} s; values that differ, by feature: {differ.tolist()} of {len(payments)}")
    return int(differ.any())


if __name__ == "__main__":
    sys.exit(main())
