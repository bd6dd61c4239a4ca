"""The till of `till.py` for scenes in which it writes what a till does not: a line of standard input such as
{"topic": "transaction", "kind": 900, "document": {}} is an entry as it stands there, whatever it says."""

import till


def write(journals, series, order):
    if isinstance(order, dict):
        journals.write(**order)
    else:
        till.sell(journals, series, order)


till.main(write)
