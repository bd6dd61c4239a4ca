//! The layouts that were compared.

/// How often a statement runs for a sale.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Each {
    Sale,
    Line,
}

/// An INSERT and the values it takes, by the names of `Sale::value` and `Line::value`.
pub(crate) struct Insert {
    pub(crate) each: Each,
    pub(crate) table: &'static str,
    pub(crate) values: &'static [&'static str],
}

/// A layout: its tables, and how a sale is written.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    pub(crate) tables: &'static [&'static str],
    pub(crate) inserts: &'static [Insert],
}

const JOURNAL: &str =
    "CREATE TABLE journal (seq INTEGER PRIMARY KEY, id BLOB NOT NULL, hlc INTEGER NOT NULL,
    topic INTEGER NOT NULL, priority INTEGER NOT NULL, payload TEXT, chain BLOB NOT NULL) STRICT;";
const JOURNAL_BY_ID: &str = "CREATE UNIQUE INDEX journal_by_id ON journal (id);";
const RECEIPT: &str = "CREATE TABLE receipt (seq INTEGER PRIMARY KEY REFERENCES journal (seq),
    trial INTEGER NOT NULL, series TEXT NOT NULL, number INTEGER NOT NULL, at_ms INTEGER NOT NULL,
    currency TEXT NOT NULL, total_minor INTEGER NOT NULL, customer TEXT, employee TEXT,
    refund_of BLOB, external_ref TEXT) STRICT;
    CREATE UNIQUE INDEX receipt_by_external_ref ON receipt (external_ref) WHERE external_ref IS NOT NULL;";
const BY_NUMBER: &str = "CREATE UNIQUE INDEX receipt_by_number ON receipt (series, number);";
const LINE: &str = "CREATE TABLE receipt_line (seq INTEGER NOT NULL REFERENCES journal (seq),
    line INTEGER NOT NULL, sku TEXT NOT NULL, description TEXT NOT NULL, quantity_milli INTEGER NOT NULL,
    unit_price_mills INTEGER NOT NULL, amount_minor INTEGER NOT NULL,
    PRIMARY KEY (seq, line)) STRICT, WITHOUT ROWID;";
const PAYMENT: &str = "CREATE TABLE payment (seq INTEGER NOT NULL REFERENCES journal (seq),
    payment INTEGER NOT NULL, tender TEXT NOT NULL, amount_minor INTEGER NOT NULL,
    PRIMARY KEY (seq, payment)) STRICT, WITHOUT ROWID;";
const LINE_ROWID: &str = "CREATE TABLE receipt_line (seq INTEGER NOT NULL REFERENCES journal (seq),
    line INTEGER NOT NULL, sku TEXT NOT NULL, description TEXT NOT NULL, quantity_milli INTEGER NOT NULL,
    unit_price_mills INTEGER NOT NULL, amount_minor INTEGER NOT NULL, PRIMARY KEY (seq, line)) STRICT;";
const PAYMENT_ROWID: &str = "CREATE TABLE payment (seq INTEGER NOT NULL REFERENCES journal (seq),
    payment INTEGER NOT NULL, tender TEXT NOT NULL, amount_minor INTEGER NOT NULL,
    PRIMARY KEY (seq, payment)) STRICT;";
/// `key` is `seq << 16 | line`: a rowid, so that pages are filled to the brim.
const LINE_PACKED: &str = "CREATE TABLE receipt_line (key INTEGER PRIMARY KEY, sku TEXT NOT NULL,
    description TEXT NOT NULL, quantity_milli INTEGER NOT NULL, unit_price_mills INTEGER NOT NULL,
    amount_minor INTEGER NOT NULL) STRICT;";
const PAYMENT_PACKED: &str = "CREATE TABLE payment (key INTEGER PRIMARY KEY, tender TEXT NOT NULL,
    amount_minor INTEGER NOT NULL) STRICT;";
/// Lines and payments: `key` is `seq << 16 | line`, or `seq << 16 | 32768 | payment`.
const ITEM: &str = "CREATE TABLE item (key INTEGER PRIMARY KEY, sku TEXT, description TEXT,
    quantity_milli INTEGER, unit_price_mills INTEGER, tender TEXT, amount_minor INTEGER NOT NULL) STRICT;";
const RECEIPT_FOLDED: &str = "CREATE TABLE receipt (seq INTEGER PRIMARY KEY REFERENCES journal (seq),
    trial INTEGER NOT NULL, series TEXT NOT NULL, number INTEGER NOT NULL, at_ms INTEGER NOT NULL,
    currency TEXT NOT NULL, total_minor INTEGER NOT NULL, customer TEXT, employee TEXT,
    refund_of BLOB, external_ref TEXT, lines ANY NOT NULL, payments ANY NOT NULL) STRICT;
    CREATE UNIQUE INDEX receipt_by_external_ref ON receipt (external_ref) WHERE external_ref IS NOT NULL;";
/// Journal and receipt in one row.
const MERGED: &str = "CREATE TABLE journal (seq INTEGER PRIMARY KEY, id BLOB NOT NULL, hlc INTEGER NOT NULL,
    topic INTEGER NOT NULL, priority INTEGER NOT NULL, chain BLOB NOT NULL, payload TEXT, trial INTEGER,
    series TEXT, number INTEGER, at_ms INTEGER, currency TEXT, total_minor INTEGER, customer TEXT,
    employee TEXT, refund_of BLOB, external_ref TEXT, lines ANY, payments ANY) STRICT;
    CREATE UNIQUE INDEX receipt_by_external_ref ON journal (external_ref) WHERE external_ref IS NOT NULL;";
const MERGED_BY_NUMBER: &str =
    "CREATE UNIQUE INDEX receipt_by_number ON journal (series, number) WHERE number IS NOT NULL;";
/// Head, lines and payment side by side in one table.
const CLUSTER: &str =
    "CREATE TABLE row (key INTEGER PRIMARY KEY, id BLOB, hlc INTEGER, topic INTEGER,
    priority INTEGER, chain BLOB, trial INTEGER, series TEXT, number INTEGER, at_ms INTEGER,
    currency TEXT, total_minor INTEGER, customer TEXT, employee TEXT, refund_of BLOB,
    external_ref TEXT, sku TEXT, description TEXT, quantity_milli INTEGER, unit_price_mills INTEGER,
    amount_minor INTEGER) STRICT;
    CREATE UNIQUE INDEX row_by_id ON row (id) WHERE id IS NOT NULL;
    CREATE UNIQUE INDEX row_by_number ON row (series, number) WHERE number IS NOT NULL;";
const BY_DOCUMENT: &str = "CREATE TABLE receipt (id BLOB PRIMARY KEY, seq INTEGER NOT NULL UNIQUE,
    trial INTEGER NOT NULL, series TEXT NOT NULL, number INTEGER NOT NULL, at_ms INTEGER NOT NULL,
    currency TEXT NOT NULL, total_minor INTEGER NOT NULL, customer TEXT, employee TEXT,
    refund_of BLOB, external_ref TEXT) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX receipt_by_number ON receipt (series, number);
    CREATE TABLE receipt_line (id BLOB NOT NULL, line INTEGER NOT NULL, sku TEXT NOT NULL,
    description TEXT NOT NULL, quantity_milli INTEGER NOT NULL, unit_price_mills INTEGER NOT NULL,
    amount_minor INTEGER NOT NULL, PRIMARY KEY (id, line)) STRICT, WITHOUT ROWID;
    CREATE TABLE payment (id BLOB NOT NULL, payment INTEGER NOT NULL, tender TEXT NOT NULL,
    amount_minor INTEGER NOT NULL, PRIMARY KEY (id, payment)) STRICT, WITHOUT ROWID;";

const fn sale(table: &'static str, values: &'static [&'static str]) -> Insert {
    Insert {
        each: Each::Sale,
        table,
        values,
    }
}

const fn line(table: &'static str, values: &'static [&'static str]) -> Insert {
    Insert {
        each: Each::Line,
        table,
        values,
    }
}

const INTO_JOURNAL: &[&str] = &["seq", "id", "hlc", "one", "one", "", "chain"];
const INTO_RECEIPT: &[&str] = &[
    "seq", "trial", "series", "number", "at_ms", "currency", "total", "", "", "", "",
];
const INTO_FOLDED: &[&str] = &[
    "seq", "trial", "series", "number", "at_ms", "currency", "total", "", "", "", "", "lines",
    "payments",
];
const INTO_LINE: &[&str] = &[
    "seq",
    "line",
    "sku",
    "description",
    "quantity",
    "price",
    "amount",
];
const INTO_LINE_PACKED: &[&str] = &[
    "packed_line",
    "sku",
    "description",
    "quantity",
    "price",
    "amount",
];
const INTO_ITEM_LINE: &[&str] = &[
    "packed_line",
    "sku",
    "description",
    "quantity",
    "price",
    "",
    "amount",
];
const INTO_ITEM_PAYMENT: &[&str] = &["packed_payment", "", "", "", "", "tender", "total"];
const INTO_PAYMENT: &[&str] = &["seq", "one", "tender", "total"];
const INTO_MERGED: &[&str] = &[
    "seq", "id", "hlc", "one", "one", "chain", "", "trial", "series", "number", "at_ms",
    "currency", "total", "", "", "", "", "lines", "payments",
];

const INTO_MERGED_ONLY: &[&str] = &[
    "seq", "id", "hlc", "one", "one", "chain", "", "trial", "series", "number", "at_ms",
    "currency", "total", "", "", "", "", "", "",
];
const INTO_MERGED_HALF: &[&str] = &[
    "seq",
    "id",
    "hlc",
    "one",
    "one",
    "half_chain",
    "",
    "trial",
    "series",
    "number",
    "at_ms",
    "currency",
    "total",
    "",
    "",
    "",
    "",
    "lines",
    "payments",
];
const FIVE: &[Insert] = &[
    sale("journal", INTO_JOURNAL),
    sale("receipt", INTO_RECEIPT),
    line("receipt_line", INTO_LINE),
    sale("payment", INTO_PAYMENT),
];
const RANDOM_IDS: &[Insert] = &[
    sale(
        "journal",
        &["seq", "random_id", "hlc", "one", "one", "", "chain"],
    ),
    sale("receipt", INTO_RECEIPT),
    line("receipt_line", INTO_LINE),
    sale("payment", INTO_PAYMENT),
];
const PACKED: &[Insert] = &[
    sale("journal", INTO_JOURNAL),
    sale("receipt", INTO_RECEIPT),
    line("receipt_line", INTO_LINE_PACKED),
    sale("payment", &["packed_0", "tender", "total"]),
];
const NEWEST_FIRST: &[Insert] = &[
    sale(
        "journal",
        &["minus_seq", "id", "hlc", "one", "one", "", "chain"],
    ),
    sale(
        "receipt",
        &[
            "minus_seq",
            "trial",
            "series",
            "number",
            "at_ms",
            "currency",
            "total",
            "",
            "",
            "",
            "",
        ],
    ),
    line(
        "receipt_line",
        &[
            "minus_seq",
            "line",
            "sku",
            "description",
            "quantity",
            "price",
            "amount",
        ],
    ),
    sale("payment", &["minus_seq", "one", "tender", "total"]),
];
const DOCUMENT_KEYS: &[Insert] = &[
    sale("journal", INTO_JOURNAL),
    sale(
        "receipt",
        &[
            "id", "seq", "trial", "series", "number", "at_ms", "currency", "total", "", "", "", "",
        ],
    ),
    line(
        "receipt_line",
        &[
            "id",
            "line",
            "sku",
            "description",
            "quantity",
            "price",
            "amount",
        ],
    ),
    sale("payment", &["id", "one", "tender", "total"]),
];
const ITEMS: &[Insert] = &[
    sale("journal", INTO_JOURNAL),
    sale("receipt", INTO_RECEIPT),
    line("item", INTO_ITEM_LINE),
    sale("item", INTO_ITEM_PAYMENT),
];
const MERGED_CHILDREN: &[Insert] = &[
    sale("journal", INTO_MERGED_ONLY),
    line("receipt_line", INTO_LINE),
    sale("payment", INTO_PAYMENT),
];
const MERGED_ITEMS: &[Insert] = &[
    sale("journal", INTO_MERGED_ONLY),
    line("item", INTO_ITEM_LINE),
    sale("item", INTO_ITEM_PAYMENT),
];
const ONE_TABLE: &[Insert] = &[
    sale(
        "row",
        &[
            "packed_0", "id", "hlc", "one", "one", "chain", "trial", "series", "number", "at_ms",
            "currency", "total", "", "", "", "", "", "", "", "", "",
        ],
    ),
    line(
        "row",
        &[
            "packed_line",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "sku",
            "description",
            "quantity",
            "price",
            "amount",
        ],
    ),
    sale(
        "row",
        &[
            "packed_payment",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "tender",
            "",
            "",
            "",
            "total",
        ],
    ),
];

const fn variant(
    name: &'static str,
    tables: &'static [&'static str],
    inserts: &'static [Insert],
) -> Variant {
    Variant {
        name,
        tables,
        inserts,
    }
}

/// The layouts; the others are compared with the first. Indented ones change the one above.
pub(crate) const ALL: &[Variant] = &[
    variant("journal, receipt, line, payment", FIVE_TABLES, FIVE),
    variant("  ids without a time (UUIDv4)", FIVE_TABLES, RANDOM_IDS),
    variant(
        "  without the index on ids",
        &[JOURNAL, RECEIPT, BY_NUMBER, LINE, PAYMENT],
        FIVE,
    ),
    variant(
        "  without the index on numbers",
        &[JOURNAL, JOURNAL_BY_ID, RECEIPT, LINE, PAYMENT],
        FIVE,
    ),
    variant(
        "  children: rowid and an index",
        &[
            JOURNAL,
            JOURNAL_BY_ID,
            RECEIPT,
            BY_NUMBER,
            LINE_ROWID,
            PAYMENT_ROWID,
        ],
        FIVE,
    ),
    variant(
        "  children: packed rowid",
        &[
            JOURNAL,
            JOURNAL_BY_ID,
            RECEIPT,
            BY_NUMBER,
            LINE_PACKED,
            PAYMENT_PACKED,
        ],
        PACKED,
    ),
    variant("  newest first (negative keys)", FIVE_TABLES, NEWEST_FIRST),
    variant(
        "  tables created the other way",
        &[PAYMENT, LINE, RECEIPT, BY_NUMBER, JOURNAL, JOURNAL_BY_ID],
        FIVE,
    ),
    variant(
        "  keyed by document id, not by seq",
        &[JOURNAL, BY_DOCUMENT],
        DOCUMENT_KEYS,
    ),
    variant(
        "lines and payments in one table",
        &[JOURNAL, JOURNAL_BY_ID, RECEIPT, BY_NUMBER, ITEM],
        ITEMS,
    ),
    variant(
        "lines, payments: JSON in the receipt",
        &[JOURNAL, JOURNAL_BY_ID, RECEIPT_FOLDED, BY_NUMBER],
        &[sale("journal", INTO_JOURNAL), sale("receipt", INTO_FOLDED)],
    ),
    variant(
        "receipt in the journal's row",
        &[MERGED, JOURNAL_BY_ID, MERGED_BY_NUMBER, LINE, PAYMENT],
        MERGED_CHILDREN,
    ),
    variant(
        "  and lines, payments in one table",
        &[MERGED, JOURNAL_BY_ID, MERGED_BY_NUMBER, ITEM],
        MERGED_ITEMS,
    ),
    variant(
        "  ... without the index on numbers",
        &[MERGED, JOURNAL_BY_ID, ITEM],
        MERGED_ITEMS,
    ),
    variant(
        "  and lines, payments: JSON",
        &[MERGED, JOURNAL_BY_ID, MERGED_BY_NUMBER],
        &[sale("journal", INTO_MERGED)],
    ),
    variant(
        "  ... without the index on numbers",
        &[MERGED, JOURNAL_BY_ID],
        &[sale("journal", INTO_MERGED)],
    ),
    variant(
        "  ... and half the chain value",
        &[MERGED, JOURNAL_BY_ID],
        &[sale("journal", INTO_MERGED_HALF)],
    ),
    variant(
        "the document as JSON in the journal",
        &[JOURNAL, JOURNAL_BY_ID],
        &[sale(
            "journal",
            &["seq", "id", "hlc", "one", "one", "document", "chain"],
        )],
    ),
    variant("everything in one clustered table", &[CLUSTER], ONE_TABLE),
];

const FIVE_TABLES: &[&str] = &[JOURNAL, JOURNAL_BY_ID, RECEIPT, BY_NUMBER, LINE, PAYMENT];
