//! One entry of a book, field by field: shown, laid out beside the book, and changed there.
//!
//! A book is never written here. Who decides about an entry works on a copy of it in `temp`, which the
//! transaction drops again.

use super::catalog::CatalogShape;
use super::movement::{PLAIN, lines, payments};
use super::reports::uuid_text;
use super::{StoreError, hub_edits};
use counterfoil_domain::document::{RECEIPT_LINES_MAX, RECEIPT_PAYMENTS_MAX};
use counterfoil_domain::employee::PIN;
use counterfoil_domain::item::{ITEM_BITS, PAYMENTS_FROM, line_key, payment_key};
use counterfoil_domain::password::{HIDDEN, without_hashes};
use counterfoil_domain::{CatalogEdit, DocumentId, Hlc, Scalar, Topic};
use counterfoil_migrate::{Connection, Value, params};
use serde_json::Map;
use std::collections::BTreeMap;

/// What a field holds.
#[derive(Clone, Copy)]
enum Holds {
    Integer,
    Text,
    Id,
}

type Field = (&'static str, Holds);

/// Fields by name with their new values as text; nothing empties a field or takes an item out.
pub(crate) type Changes = BTreeMap<String, Option<String>>;

/// Why an entry was not changed, for a person.
pub(super) type Changed = Result<(), String>;

const RECEIPT: [Field; 10] = [
    ("trial", Holds::Integer),
    ("series", Holds::Text),
    ("number", Holds::Integer),
    ("at_ms", Holds::Integer),
    ("currency", Holds::Text),
    ("total_minor", Holds::Integer),
    ("customer", Holds::Text),
    ("employee", Holds::Text),
    ("refund_of", Holds::Id),
    ("external_ref", Holds::Text),
];

const LINE: [Field; 5] = [
    ("sku", Holds::Text),
    ("description", Holds::Text),
    ("quantity_milli", Holds::Integer),
    ("unit_price_mills", Holds::Integer),
    ("amount_minor", Holds::Integer),
];

const PAYMENT: [Field; 2] = [("tender", Holds::Text), ("amount_minor", Holds::Integer)];

/// The fields of a topic that has a table of its own.
const fn fields(topic: Topic) -> &'static [Field] {
    use Holds::{Id, Integer, Text};
    const JSON: &[(&str, Holds)] = &[("payload", Text), ("at_ms", Integer)];
    match topic {
        Topic::Sale | Topic::Refund => &RECEIPT,
        Topic::Activation => &[("shop", Id), ("shop_name", Text), ("at_ms", Integer)],
        Topic::LedgerEntry => &[
            ("customer", Text),
            ("amount_minor", Integer),
            ("currency", Text),
            ("note", Text),
            ("at_ms", Integer),
        ],
        Topic::AdvanceOrder => &[
            ("customer", Text),
            ("due_ms", Integer),
            ("lines", Text),
            ("total_minor", Integer),
            ("deposit_minor", Integer),
            ("currency", Text),
            ("at_ms", Integer),
        ],
        Topic::CashSession => &[
            ("event", Text),
            ("counted_minor", Integer),
            ("currency", Text),
            ("employee", Text),
            ("at_ms", Integer),
        ],
        Topic::Expense => &[
            ("category", Text),
            ("amount_minor", Integer),
            ("currency", Text),
            ("note", Text),
            ("at_ms", Integer),
            ("employee", Text),
        ],
        Topic::StockMovement => &[
            ("sku", Text),
            ("quantity_milli", Integer),
            ("reason", Text),
            ("at_ms", Integer),
            ("external_ref", Text),
        ],
        Topic::StockCount => &[
            ("sku", Text),
            ("quantity_milli", Integer),
            ("at_ms", Integer),
            ("seen", Text),
        ],
        Topic::Closure => &[("day", Text), ("content", Text), ("at_ms", Integer)],
        Topic::EmployeeEvent => &[
            ("employee", Text),
            ("event", Text),
            ("permission", Text),
            ("outcome", Text),
            ("unlooked", Integer),
            ("at_ms", Integer),
        ],
        Topic::ParkedSale | Topic::ParkedDiscard | Topic::Escrow => JSON,
        Topic::CatalogEdit => &[],
    }
}

fn table(topic: Topic) -> Option<&'static str> {
    let plain = PLAIN.iter().find(|plain| plain.topic == topic);
    plain.map(|plain| plain.table)
}

const fn is_receipt(topic: Topic) -> bool {
    matches!(topic, Topic::Sale | Topic::Refund)
}

/// Arguments of `json_object`.
fn pairs(fields: &[Field], row: &str) -> String {
    let pairs = fields.iter().map(|(name, holds)| match holds {
        Holds::Integer | Holds::Text => format!("'{name}', {row}.{name}"),
        Holds::Id => {
            let text = uuid_text(&format!("{row}.{name}"));
            format!("'{name}', CASE WHEN {row}.{name} IS NOT NULL THEN {text} END")
        }
    });
    pairs.collect::<Vec<_>>().join(", ")
}

fn read(
    hub: &Connection,
    sql: &str,
    at: impl counterfoil_migrate::IntoParams,
) -> Result<Option<Map<String, serde_json::Value>>, StoreError> {
    Ok(hub.query_optional(sql, at, |row| {
        row.get_with(0, |text: String| -> Result<_, serde_json::Error> {
            // An edit may hold the hash of a PIN.
            let mut found = serde_json::from_str(&without_hashes(&text))?;
            hide_pin(&mut found);
            Ok(found)
        })
    })?)
}

/// Or the PIN itself, when another program wrote the book; such an edit is never merged.
fn hide_pin(found: &mut Map<String, serde_json::Value>) {
    let payload = found.get("payload").and_then(serde_json::Value::as_str);
    let edit = payload.and_then(|text| serde_json::from_str::<CatalogEdit>(text).ok());
    if let Some(mut edit) = edit
        && let Some(pin @ Scalar::Text(_)) = edit.columns.get_mut(PIN)
    {
        *pin = Scalar::Text(HIDDEN.to_owned());
        let shown = serde_json::json!(edit).to_string();
        found.insert("payload".to_owned(), shown.into());
    }
}

/// An entry, field by field; `book` stands before the names of the tables that hold it.
pub(super) fn record(
    hub: &Connection,
    book: &str,
    seq: i64,
) -> Result<Option<Map<String, serde_json::Value>>, StoreError> {
    let sql = format!("SELECT topic FROM {book}journal WHERE seq = ?1");
    let Some(code) = hub.query_optional(&sql, params![seq], |row| row.get::<i64>(0))? else {
        return Ok(None);
    };
    let head = format!("'id', {}, 'hlc', j.hlc", uuid_text("j.id"));
    let (content, source) = match Topic::from_code(code) {
        Some(topic) if is_receipt(topic) => {
            let items = |fields: &[Field], name: &str, range: &str| {
                let (position, item) = (PAYMENTS_FROM - 1, pairs(fields, "i"));
                format!(
                    "'{name}s', json((SELECT json_group_array(json_object('{name}', \
                     i.key & {position}, {item}) ORDER BY i.key)
                     FROM {book}receipt_item AS i WHERE {range}))"
                )
            };
            let parts = [
                pairs(&RECEIPT, "j"),
                items(&LINE, "line", &lines()),
                items(&PAYMENT, "payment", &payments()),
            ];
            (parts.join(", "), String::new())
        }
        Some(topic) if table(topic).is_some() => {
            let table = table(topic).unwrap_or_default();
            let source = format!("LEFT JOIN {book}{table} AS d ON d.seq = j.seq");
            (pairs(fields(topic), "d"), source)
        }
        _ => ("'payload', j.payload".to_owned(), String::new()),
    };
    let sql = format!(
        "SELECT json_object({head}, {content}) FROM {book}journal AS j {source} WHERE j.seq = ?1"
    );
    read(hub, &sql, params![seq])
}

/// An entry as it is consolidated, field by field.
pub(super) fn consolidated(
    hub: &Connection,
    node: i64,
    seq: i64,
) -> Result<Option<Map<String, serde_json::Value>>, StoreError> {
    let items = |fields: &[Field], name: &str, table: &str| {
        format!(
            "'{name}s', json((SELECT json_group_array(json_object('{name}', i.{name}, {})
             ORDER BY i.{name}) FROM {table} AS i WHERE i.node = j.node AND i.seq = j.seq))",
            pairs(fields, "i")
        )
    };
    let sql = format!(
        "SELECT json_object('id', {id}, 'hlc', j.hlc, {}, {}, {}) FROM receipt AS j
         WHERE j.node = ?1 AND j.seq = ?2
         UNION ALL
         SELECT json_patch(json_object('id', {id}, 'hlc', j.hlc), j.content) FROM document AS j
         WHERE j.node = ?1 AND j.seq = ?2",
        pairs(&RECEIPT, "j"),
        items(&LINE, "line", "receipt_line"),
        items(&PAYMENT, "payment", "payment"),
        id = uuid_text("j.id"),
    );
    read(hub, &sql, params![node, seq])
}

/// Tables in `temp` that stand for those of a book.
fn tables(topic: Option<Topic>) -> Vec<&'static str> {
    let mut tables = vec!["journal"];
    if topic.is_some_and(is_receipt) {
        tables.push("receipt_item");
    }
    let own = topic.and_then(table);
    tables.extend(own.filter(|own| !tables.contains(own)));
    tables
}

/// Copies an entry of the attached book to `temp`.
pub(super) fn lay_out(
    tx: &Connection,
    source: &str,
    seq: i64,
    topic: Option<Topic>,
) -> Result<(), StoreError> {
    for table in tables(topic) {
        let rows = match table {
            "receipt_item" => items(seq),
            _ => format!("seq = {seq}"),
        };
        let sql =
            format!("CREATE TABLE temp.{table} AS SELECT * FROM {source}{table} WHERE {rows}");
        tx.execute(&sql, ())?;
    }
    Ok(())
}

/// Lines and payments of an entry, as a range of the table's own keys: a book has millions of them.
fn items(seq: i64) -> String {
    format!("key >= {seq} << {ITEM_BITS} AND key < {seq} + 1 << {ITEM_BITS}")
}

/// Changes fields of the copy.
pub(super) fn change(
    tx: &Connection,
    shape: &CatalogShape,
    seq: i64,
    topic: Option<Topic>,
    changes: &Changes,
) -> Result<Changed, StoreError> {
    let Some(topic) = topic else {
        let unknown = "this hub does not know what its fields mean; update the hub";
        return Ok(Err(unknown.to_owned()));
    };
    if topic == Topic::CatalogEdit {
        return change_edit(tx, shape, changes);
    }
    for (name, value) in changes {
        let value = value.as_deref();
        let parts: Vec<_> = name.split('.').collect();
        let changed = match parts[..] {
            ["id"] => set(tx, "journal", ("seq", seq), (("id", Holds::Id), value))?,
            ["line" | "payment", position] if is_receipt(topic) && value.is_none() => {
                match item_key(seq, parts[0], position) {
                    Some(key) => {
                        let sql = "DELETE FROM temp.receipt_item WHERE key = ?1";
                        tx.execute(sql, params![key])?;
                        Ok(())
                    }
                    None => Err(no_field(topic, name)),
                }
            }
            ["line" | "payment", position, field] if is_receipt(topic) => {
                let of: &[Field] = if parts[0] == "line" { &LINE } else { &PAYMENT };
                let field = of.iter().find(|(known, _)| *known == field);
                match (item_key(seq, parts[0], position), field) {
                    (Some(key), Some(field)) => {
                        set(tx, "receipt_item", ("key", key), (*field, value))?
                    }
                    _ => Err(no_field(topic, name)),
                }
            }
            [field] => match fields(topic).iter().find(|(known, _)| *known == field) {
                Some(field) => {
                    let table = table(topic).unwrap_or("journal");
                    set(tx, table, ("seq", seq), (*field, value))?
                }
                None => Err(no_field(topic, name)),
            },
            _ => Err(no_field(topic, name)),
        };
        if changed.is_err() {
            return Ok(changed);
        }
    }
    Ok(Ok(()))
}

fn item_key(seq: i64, kind: &str, position: &str) -> Option<i64> {
    let position: i64 = position.parse().ok()?;
    let (most, key): (usize, fn(i64, i64) -> i64) = match kind {
        "line" => (RECEIPT_LINES_MAX, line_key),
        _ => (RECEIPT_PAYMENTS_MAX, payment_key),
    };
    let most = i64::try_from(most).ok()?;
    (1..=most).contains(&position).then(|| key(seq, position))
}

fn no_field(topic: Topic, name: &str) -> String {
    let mut known: Vec<_> = fields(topic).iter().map(|(name, _)| *name).collect();
    known.push("id");
    if is_receipt(topic) {
        known.extend(["line.N.FIELD", "payment.N.FIELD"]);
    }
    format!(
        "`{name}` is no field of this kind of record ({}); it has {}",
        topic.name(),
        known.join(", ")
    )
}

/// Sets a field of the copy's row, which is made when it is missing.
fn set(
    tx: &Connection,
    table: &str,
    (key, at): (&str, i64),
    ((field, holds), value): (Field, Option<&str>),
) -> Result<Changed, StoreError> {
    let value = match typed(field, holds, value) {
        Ok(value) => value,
        Err(reason) => return Ok(Err(reason)),
    };
    let sql = format!(
        "INSERT INTO temp.{table} ({key}) SELECT ?1
         WHERE NOT EXISTS (SELECT 1 FROM temp.{table} WHERE {key} = ?1)"
    );
    tx.execute(&sql, params![at])?;
    let sql = format!("UPDATE temp.{table} SET {field} = ?2 WHERE {key} = ?1");
    tx.execute(&sql, params![at, value])?;
    Ok(Ok(()))
}

fn typed(field: &str, holds: Holds, text: Option<&str>) -> Result<Value, String> {
    let Some(text) = text else {
        return Ok(Value::Null);
    };
    match holds {
        Holds::Integer if field.ends_with("_ms") => time(text).map(Value::Integer),
        Holds::Integer => {
            let number = text.trim().parse().map(Value::Integer);
            number.map_err(|_| format!("`{field}` takes a whole number, not `{text}`"))
        }
        Holds::Text if text.contains('\0') => Err(format!("`{field}` takes a readable text")),
        Holds::Text => Ok(Value::Text(text.to_owned())),
        Holds::Id => {
            let id = text.trim().parse::<DocumentId>();
            let id = id.map_err(|_| format!("`{field}` takes an id, not `{text}`"))?;
            Ok(Value::Blob(id.to_bytes().to_vec()))
        }
    }
}

/// Milliseconds, or a moment as people write it.
fn time(text: &str) -> Result<i64, String> {
    let moment = text.trim().parse::<jiff::Timestamp>();
    let millis = moment.map(jiff::Timestamp::as_millisecond);
    millis
        .or_else(|_| text.trim().parse())
        .map_err(|_| "a time looks like 2026-11-21T14:00:00Z, or is milliseconds".to_owned())
}

/// Changes a catalog edit: its table, its row, its columns, or when it was made.
fn change_edit(
    tx: &Connection,
    shape: &CatalogShape,
    changes: &Changes,
) -> Result<Changed, StoreError> {
    let (payload, mut hlc) = tx.query_row("SELECT payload, hlc FROM temp.journal", (), |row| {
        Ok((row.get::<Option<String>>(0)?, row.get::<i64>(1)?))
    })?;
    let read = payload.and_then(|text| serde_json::from_str::<CatalogEdit>(&text).ok());
    // The table first: it says what its columns take.
    let Some(mut edit) = read else {
        let reason = "the change cannot be read: make it at the hub with `catalog set`";
        return Ok(Err(reason.to_owned()));
    };
    if let Some(Some(table)) = changes.get("table") {
        edit.table.clone_from(table);
    }
    for (name, value) in changes {
        let changed = match (name.as_str(), value) {
            ("table", Some(_)) => Ok(()),
            ("row", Some(row)) => {
                edit.row.clone_from(row);
                Ok(())
            }
            ("at_ms", Some(text)) => logical_time(text).map(|time| {
                hlc = time.raw();
                edit.at_ms = Some(time.millis());
            }),
            (name, value) => match name.strip_prefix("column.") {
                Some(column) => change_column(shape, &mut edit, column, value.as_deref()),
                None => Err(format!(
                    "`{name}` is no field of a catalog edit; it has table, row, at_ms, column.NAME"
                )),
            },
        };
        if changed.is_err() {
            return Ok(changed);
        }
    }
    let text = serde_json::to_string(&edit).map_err(|source| StoreError::Json {
        what: "catalog edit",
        source,
    })?;
    let sql = "UPDATE temp.journal SET payload = ?1, hlc = ?2";
    tx.execute(sql, params![text, hlc])?;
    Ok(Ok(()))
}

fn logical_time(text: &str) -> Result<Hlc, String> {
    let at_ms = time(text)?;
    let held = Hlc::at_millis(at_ms);
    let fits = at_ms >= 0 && held.millis() == at_ms;
    fits.then_some(held)
        .ok_or_else(|| format!("`{text}` is no time of an edit"))
}

/// Nothing takes the column out of the edit.
fn change_column(
    shape: &CatalogShape,
    edit: &mut CatalogEdit,
    column: &str,
    value: Option<&str>,
) -> Changed {
    if value.is_none() {
        edit.columns.remove(column);
        edit.base.remove(column);
        return Ok(());
    }
    let table = shape.table(&edit.table);
    let table = table.ok_or_else(|| format!("the catalog has no table `{}`", edit.table))?;
    edit.columns
        .insert(column.to_owned(), hub_edits::typed(table, column, value)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterfoil_migrate::{Kind, open_and_migrate};
    use counterfoil_testkit::TempDir;

    #[test]
    fn the_items_of_an_entry_are_a_range_of_the_key() {
        let dir = TempDir::new("items");
        let book = open_and_migrate(dir.join("book.db"), Kind::Book, 0).unwrap();
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT * FROM receipt_item WHERE {}",
            items(7)
        );
        let plan = book
            .query_map(&sql, (), |row| row.get::<String>(3))
            .unwrap();
        let range = "SEARCH receipt_item USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)";
        assert_eq!(plan, [range]);
    }
}
