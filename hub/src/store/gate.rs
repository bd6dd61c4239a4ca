//! What is taken from tills of other schemas, and what waits because of them?

use super::alerts::{self, NewAlert};
use super::audit::{Decided, write_down};
use super::catalog::CatalogShape;
use super::contact::AuthedNode;
use super::{Reader, Store, StoreError, node_id};
use counterfoil_domain::NodeId;
use counterfoil_migrate::{Connection, Kind, SqlError, params};
use counterfoil_protocol::gate::{Gate, GatePolicy, Schemas, gate};
use counterfoil_protocol::wire::gate::{
    BookGate, GateRehearsal, GateReport, GateTill, HeldBackBy, HeldChange,
};
use counterfoil_protocol::wire::hub::NodeRow;
use serde_json::json;
use std::collections::BTreeMap;

/// The alert of a till that is shut out.
pub(super) const SHUT_OUT: &str = "shut_out";

fn policy(hub: &Connection) -> Result<GatePolicy, SqlError> {
    let sql = "SELECT value FROM meta WHERE key = 'gate_policy'";
    let stored = hub.query_optional(sql, (), |row| {
        row.get_with(0, |name: String| {
            GatePolicy::from_name(&name).ok_or("unknown policy of the schema gate")
        })
    });
    Ok(stored?.unwrap_or_default())
}

/// How long a till's journal was when it was told last that nothing of it is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ShutOut {
    since_ms: i64,
    seq: Option<i64>,
}

impl ShutOut {
    /// Whether it is on record that a till's journal was so long.
    pub(crate) fn says(self, seq: Option<i64>) -> bool {
        self.seq == seq
    }
}

impl Store {
    /// Sets what is taken from tills that are older than the hub; whether that was different before.
    pub(crate) fn set_gate_policy(
        &self,
        wanted: GatePolicy,
        who: &str,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        self.hub.transaction(|tx| {
            let before = policy(tx)?;
            if before == wanted {
                return Ok(false);
            }
            tx.execute(
                "INSERT INTO meta VALUES ('gate_policy', ?1)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                params![wanted.name()],
            )?;
            let sql = "SELECT node.id FROM shut_out JOIN node ON node.number = shut_out.node";
            for node in tx.query_map(sql, (), |row| node_id(row, 0))? {
                alerts::clear(tx, SHUT_OUT, Some(node), now_ms)?;
            }
            tx.execute("DELETE FROM shut_out", ())?;
            let decided = Decided {
                at_ms: now_ms,
                who,
                action: "gate_set",
                subject: "schema gate".to_owned(),
                detail: "",
                before: json!(before.name()),
                after: json!(wanted.name()),
                edit: None,
                conflict: None,
            };
            write_down(tx, decided)?;
            Ok(true)
        })
    }

    /// Notes that a till was told to update, and that nothing of it is taken until then.
    pub(crate) fn shut_out(
        &self,
        node: &AuthedNode,
        has: Schemas,
        seq: Option<i64>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let own = self.schemas;
        self.hub.transaction(|tx| {
            let sql = "UPDATE shut_out SET seq = ?2 WHERE node = ?1";
            if tx.execute(sql, params![node.number, seq])? > 0 {
                return Ok(());
            }
            let sql = "INSERT INTO shut_out (node, since_ms, seq) VALUES (?1, ?2, ?3)";
            tx.execute(sql, params![node.number, now_ms, seq])?;
            let alert = NewAlert {
                at_ms: now_ms,
                kind: SHUT_OUT,
                node: Some(node.id),
                subject: String::new(),
                detail: format!(
                    "nothing is taken from this till until it is updated: it has book {} and catalog {}, \
                     the hub has book {} and catalog {}",
                    has.book, has.catalog, own.book, own.catalog
                ),
            };
            alerts::raise(tx, &alert)
        })
    }

    /// Notes that the book of a till is taken again.
    pub(crate) fn let_in(&self, node: &AuthedNode, now_ms: i64) -> Result<(), StoreError> {
        self.hub.transaction(|tx| -> Result<(), StoreError> {
            let sql = "DELETE FROM shut_out WHERE node = ?1";
            tx.execute(sql, params![node.number])?;
            alerts::clear(tx, SHUT_OUT, Some(node.id), now_ms)
        })?;
        tracing::info!(node = %node.id, "a till is let in again");
        Ok(())
    }
}

impl Reader {
    /// What is taken from tills that are older than the hub.
    pub(crate) fn gate_policy(&self) -> Result<GatePolicy, StoreError> {
        Ok(policy(&self.hub)?)
    }

    /// Whether it is on record that a till was told to update.
    pub(crate) fn is_shut_out(&self, node: i64) -> Result<Option<ShutOut>, StoreError> {
        let sql = "SELECT since_ms, seq FROM shut_out WHERE node = ?1";
        let found = self.hub.query_optional(sql, params![node], |row| {
            let (since_ms, seq) = (row.get(0)?, row.get(1)?);
            Ok(ShutOut { since_ms, seq })
        });
        Ok(found?)
    }

    /// What a till that does not say which schemas it has said last; `None` for one that never did.
    pub(crate) fn said_schemas(&self, node: NodeId) -> Result<Option<Schemas>, StoreError> {
        let sql = "SELECT book_schema, catalog_schema FROM node
                   WHERE id = ?1 AND book_schema IS NOT NULL AND catalog_schema IS NOT NULL";
        let said = self
            .hub
            .query_optional(sql, params![node.to_bytes()], |row| {
                let (book, catalog) = (row.get(0)?, row.get(1)?);
                Ok(Schemas { book, catalog })
            });
        Ok(said?)
    }

    /// Which tills are of other schemas, what waits for them, and which change waits for whom.
    pub(crate) fn gate_report(&self, hub: Schemas) -> Result<GateReport, StoreError> {
        let policy = self.gate_policy()?;
        let tills = self.gate_tills(hub, policy)?;
        let changes = held_changes(hub, &tills);
        Ok(GateReport {
            policy,
            schemas: hub,
            tills,
            changes,
        })
    }

    /// For which tills another policy would make a difference.
    pub(crate) fn rehearse_gate(
        &self,
        hub: Schemas,
        wanted: GatePolicy,
    ) -> Result<GateRehearsal, StoreError> {
        let policy_now = self.gate_policy()?;
        let now = self.gate_tills(hub, policy_now)?;
        let mut tills = self.gate_tills(hub, wanted)?;
        tills.retain(|then| {
            let same = |now: &GateTill| (now.node_id, now.book) == (then.node_id, then.book);
            !now.iter().any(same)
        });
        Ok(GateRehearsal {
            policy_now,
            policy: wanted,
            tills,
        })
    }

    fn gate_tills(&self, hub: Schemas, policy: GatePolicy) -> Result<Vec<GateTill>, StoreError> {
        let shape = CatalogShape::load(&self.catalog, &self.hub)?;
        let sql = "SELECT node.id, shut_out.since_ms, shut_out.seq
                   FROM shut_out JOIN node ON node.number = shut_out.node";
        let shut_out = self.hub.query_map(sql, (), |row| {
            let (since_ms, seq) = (row.get(1)?, row.get(2)?);
            Ok((super::node_id(row, 0)?, ShutOut { since_ms, seq }))
        })?;
        let shut_out: BTreeMap<NodeId, ShutOut> = shut_out.into_iter().collect();
        let mut tills = Vec::new();
        for row in self.nodes(hub)? {
            // One whose access was taken back holds nothing back.
            let said = row.book_schema.zip(row.catalog_schema);
            let (false, Some((book, catalog))) = (row.state == "revoked", said) else {
                continue;
            };
            let schemas = Schemas { book, catalog };
            if schemas == hub && row.waits.is_none() {
                continue;
            }
            let rows = match gate(hub, schemas) {
                Gate::UpdateRequired => {
                    self.rows_after(&shape, row.catalog_revision.unwrap_or(0))?
                }
                Gate::Open => BTreeMap::new(),
            };
            let told = shut_out.get(&row.node_id).copied();
            tills.push(till(&row, (hub, schemas), policy, rows, told));
        }
        Ok(tills)
    }

    /// Catalog rows that were published after a revision, by table.
    fn rows_after(
        &self,
        shape: &CatalogShape,
        revision: i64,
    ) -> Result<BTreeMap<String, i64>, StoreError> {
        let mut rows = BTreeMap::new();
        for table in &shape.tables {
            let sql = format!("SELECT count(*) FROM {} WHERE revision > ?1", table.name);
            let count: i64 = self.catalog.query_value(&sql, params![revision])?;
            if count > 0 {
                rows.insert(table.name.clone(), count);
            }
        }
        Ok(rows)
    }
}

fn till(
    row: &NodeRow,
    (hub, schemas): (Schemas, Schemas),
    policy: GatePolicy,
    rows: BTreeMap<String, i64>,
    told: Option<ShutOut>,
) -> GateTill {
    let gate = gate(hub, schemas);
    let catalog_waits = gate == Gate::UpdateRequired;
    let (book, why) = match (policy.takes_book(gate), &row.waits) {
        (false, _) => (
            BookGate::Refused,
            "nothing of it is taken until the till is upgraded; it sells, and keeps what it sells"
                .to_owned(),
        ),
        (true, Some(why)) => (BookGate::Kept, why.clone()),
        (true, None) if catalog_waits => (
            BookGate::Counted,
            "its sales are counted, the catalog waits until the till is upgraded".to_owned(),
        ),
        (true, None) => (
            BookGate::Counted,
            "the till is newer than this hub: upgrade the hub; nothing of it waits so far"
                .to_owned(),
        ),
    };
    let (entries, since_ms) = match book {
        BookGate::Counted => (0, None),
        BookGate::Kept => (row.waits_entries.unwrap_or(0), row.waits_since_ms),
        BookGate::Refused => {
            let seq = told.and_then(|told| told.seq).unwrap_or(0);
            let there = seq.saturating_sub(row.consolidated_seq).max(0);
            (there, told.map(|told| told.since_ms))
        }
    };
    GateTill {
        till: format!("{}/{}", row.shop, row.lane),
        node_id: row.node_id,
        schemas,
        seen_ms: row.seen_ms,
        book,
        entries,
        since_ms,
        catalog_waits,
        publications: if catalog_waits {
            row.catalog_pending
        } else {
            0
        },
        rows,
        why,
    }
}

/// Every change that one side knows and the other does not.
fn held_changes(hub: Schemas, tills: &[GateTill]) -> Vec<HeldChange> {
    let has = |schemas: Schemas, kind| match kind {
        Kind::Book => schemas.book,
        _ => schemas.catalog,
    };
    let mut changes = Vec::new();
    for kind in [Kind::Book, Kind::Catalog] {
        let known = has(hub, kind);
        let newest = tills.iter().map(|till| has(till.schemas, kind)).max();
        let names = kind.schema().up_to(known).names();
        for version in 1..=newest.unwrap_or(0).max(known) {
            let is_news = version > known;
            let on_one_side = |till: &&GateTill| (has(till.schemas, kind) < version) != is_news;
            let tills: Vec<_> = tills
                .iter()
                .filter(on_one_side)
                .map(|till| till.till.clone())
                .collect();
            if tills.is_empty() {
                continue;
            }
            let name = names.iter().find(|known| known.version == version);
            changes.push(HeldChange {
                database: kind.as_str().to_owned(),
                version,
                name: name.map(|known| known.name.replace('_', " ")),
                held_back_by: match is_news {
                    true => HeldBackBy::Hub,
                    false => HeldBackBy::Tills,
                },
                tills,
            });
        }
    }
    changes
}
