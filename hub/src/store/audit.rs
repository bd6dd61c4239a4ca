//! Who decided what, when?

use super::{Reader, StoreError};
use counterfoil_domain::DocumentId;
use counterfoil_domain::ids::ParseIdError;
use counterfoil_migrate::{Connection, Row, SqlError, params};
use counterfoil_protocol::wire::decisions::{AuditPage, AuditRow};
use serde_json::Value;

/// A decision as it is written down, in the transaction that carries it out.
pub(super) struct Decided<'a> {
    pub(super) at_ms: i64,
    pub(super) who: &'a str,
    pub(super) action: &'static str,
    pub(super) subject: String,
    pub(super) detail: &'a str,
    pub(super) before: Value,
    pub(super) after: Value,
    pub(super) edit: Option<DocumentId>,
    pub(super) conflict: Option<i64>,
}

pub(super) fn write_down(tx: &Connection, decided: Decided<'_>) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO audit (at_ms, who, action, subject, detail, before, after, edit, conflict)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            decided.at_ms,
            decided.who,
            decided.action,
            decided.subject,
            decided.detail,
            decided.before.to_string(),
            decided.after.to_string(),
            decided.edit.map(DocumentId::to_bytes),
            decided.conflict,
        ],
    )?;
    Ok(())
}

const ROWS: &str = "SELECT id, at_ms, who, action, subject, detail, before, after, edit, conflict
                    FROM audit";

fn read(row: &Row<'_>) -> Result<AuditRow, SqlError> {
    let json = |index| row.get_with(index, |text: String| serde_json::from_str(&text));
    Ok(AuditRow {
        id: row.get(0)?,
        at_ms: row.get(1)?,
        who: row.get(2)?,
        action: row.get(3)?,
        subject: row.get(4)?,
        detail: row.get(5)?,
        before: json(6)?,
        after: json(7)?,
        edit: row.get_with(8, |bytes: Option<Vec<u8>>| -> Result<_, ParseIdError> {
            bytes
                .map(|bytes| DocumentId::from_slice(&bytes))
                .transpose()
        })?,
        conflict: row.get(9)?,
    })
}

/// The decision that an edit carried out.
pub(super) fn decision_of(
    hub: &Connection,
    edit: DocumentId,
) -> Result<Option<AuditRow>, StoreError> {
    let sql = format!("{ROWS} WHERE edit = ?1");
    Ok(hub.query_optional(&sql, params![edit.to_bytes()], read)?)
}

impl Reader {
    /// A page of decisions by number.
    pub(crate) fn audit(&self, after: i64, limit: i64) -> Result<AuditPage, StoreError> {
        let sql = format!("{ROWS} WHERE id > ?1 ORDER BY id LIMIT ?2");
        let page = params![after, limit.saturating_add(1)];
        let mut decisions = self.hub.query_map(&sql, page, read)?;
        let shown = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = decisions.len() > shown;
        decisions.truncate(shown);
        let next = decisions.last().filter(|_| more).map(|last| last.id);
        Ok(AuditPage { decisions, next })
    }
}
