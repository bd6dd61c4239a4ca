//! What grows for ever is found by an index.

use super::conflicts::ConflictFilter;
use super::imports::IMPORTS;
use super::rehearsal::EDITED_SINCE;
use super::undo::UndoOf;
use super::watch::OPEN_COLUMNS;
use counterfoil_domain::{ImportId, NodeId};
use counterfoil_migrate::{Connection, Kind, Value, open_and_migrate, params_from_iter};
use counterfoil_protocol::wire::decisions::ConflictState;
use counterfoil_testkit::TempDir;
use uuid::Uuid;

/// The steps of a plan that touch a table, by its name or alias.
fn steps(hub: &Connection, sql: &str) -> Vec<String> {
    let parameters = (1..=9).filter(|number| sql.contains(&format!("?{number}")));
    let nothing = params_from_iter(parameters.map(|_| Value::Null));
    let sql = format!("EXPLAIN QUERY PLAN {sql}");
    let plan = hub.query_map(&sql, nothing, |row| row.get::<String>(3));
    let is_look = |step: &String| step.starts_with("SCAN") || step.starts_with("SEARCH");
    plan.expect("a plan").into_iter().filter(is_look).collect()
}

#[test]
fn conflicts_undoings_and_rehearsals_read_what_they_are_asked_for_and_no_whole_table() {
    let dir = TempDir::new("plans");
    let hub = open_and_migrate(dir.join("hub.db"), Kind::Hub, 0).expect("a hub");
    let open = ConflictFilter {
        state: Some(ConflictState::Open),
        ..ConflictFilter::default()
    };
    let of_node = UndoOf::Node {
        node: NodeId::from_uuid(Uuid::nil()),
        from_ms: 0,
        to_ms: 1,
        shop: None,
    };
    let of_import = UndoOf::Import {
        import: ImportId::from_uuid(Uuid::nil()),
        shop: None,
    };
    for (sql, index) in [
        (open.sql(), "conflict_open"),
        (of_node.rows_sql(), "field_version_by_node"),
        (of_import.rows_sql(), "field_version_by_import"),
        (of_node.row_sql(), "(table_name=? AND row_id=?"),
        (of_import.row_sql(), "table_name=? AND row_id=?"),
        (EDITED_SINCE.to_owned(), "field_version_by_node"),
        (OPEN_COLUMNS.to_owned(), "conflict_open"),
        (IMPORTS.to_owned(), "receipt_by_import"),
        (IMPORTS.to_owned(), "document_by_import"),
        (IMPORTS.to_owned(), "field_version_by_import"),
    ] {
        let steps = steps(&hub, &sql);
        assert!(
            steps.iter().any(|step| step.contains(index)),
            "{index}: {steps:?}"
        );
        let whole = ["field_version", "v", "conflict", "receipt", "document"]
            .map(|table| format!("SCAN {table}"));
        assert!(!steps.iter().any(|step| whole.contains(step)), "{steps:?}");
    }
}
