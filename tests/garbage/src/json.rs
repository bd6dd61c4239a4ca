//! JSON of every message, request and answer: what is understood is written and understood again.

use counterfoil_domain::{document, edit, merge};
use counterfoil_protocol::problem::Problem;
use counterfoil_protocol::wire::{
    database, decisions, events, history, hub, import, lane, lineage, monitor, node, policies,
    quarantine, queue, replication,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) fn run(bytes: &[u8]) {
    for check in CHECKS {
        check(bytes);
    }
}

/// All that stands in a body, and what a book holds as JSON and the hub reads out of it.
const CHECKS: [fn(&[u8]); 82] = [
    check::<database::DatabaseAddRequest>,
    check::<database::DatabaseTokenRequest>,
    check::<database::DatabaseAccess>,
    check::<database::DatabaseRow>,
    check::<database::DatabaseRemoved>,
    check::<database::DatabaseFoldRequest>,
    check::<database::DatabaseFolded>,
    check::<decisions::ConflictRow>,
    check::<decisions::ConflictPage>,
    check::<decisions::ResolveRequest>,
    check::<decisions::Deciding>,
    check::<decisions::ConflictDecided>,
    check::<decisions::AuditPage>,
    check::<decisions::UndoRequest>,
    check::<decisions::Undone>,
    check::<events::Notice>,
    check::<history::HistoryRow>,
    check::<history::GenerationRow>,
    check::<history::RestoreMoment>,
    check::<history::RestoreRequest>,
    check::<history::Restored>,
    check::<hub::ActivateRequest>,
    check::<hub::ActivateAnswer>,
    check::<hub::HelloRequest>,
    check::<hub::HelloAnswer>,
    check::<hub::ShopAddRequest>,
    check::<hub::ShopAdded>,
    check::<hub::ShopRow>,
    check::<hub::NodeRow>,
    check::<hub::SalesGroup>,
    check::<hub::HubStatus>,
    check::<hub::JoinCodeRequest>,
    check::<hub::CatalogSetRequest>,
    check::<hub::CatalogSetAnswer>,
    check::<hub::CatalogExport>,
    check::<quarantine::QuarantineRow>,
    check::<quarantine::QuarantineDetail>,
    check::<quarantine::QuarantineRequest>,
    check::<quarantine::QuarantineAnswer>,
    check::<lineage::LineageRequest>,
    check::<lineage::LineageAnswer>,
    check::<lineage::IdentityRequest>,
    check::<lineage::IdentityAnswer>,
    check::<monitor::RunPage>,
    check::<monitor::AlertRow>,
    check::<monitor::AcknowledgeRequest>,
    check::<monitor::Acknowledged>,
    check::<monitor::AlertMessage>,
    check::<node::ReceiptRequest>,
    check::<node::Recorded>,
    check::<node::StockRequest>,
    check::<node::ExpenseRequest>,
    check::<node::LedgerRequest>,
    check::<node::OrderRequest>,
    check::<node::CashRequest>,
    check::<node::CatalogSetRequest>,
    check::<node::CatalogRow>,
    check::<node::ActivateCommand>,
    check::<node::Health>,
    check::<node::Address>,
    check::<node::HubMoved>,
    check::<node::NodeStatus>,
    check::<queue::QueueRow>,
    check::<node::LogRow>,
    check::<node::SyncReport>,
    check::<node::ReceiptRow>,
    check::<node::CatalogDigest>,
    check::<import::ImportBatch>,
    check::<import::ImportResult>,
    check::<policies::PolicyRow>,
    check::<policies::PolicySetRequest>,
    check::<policies::PolicySet>,
    check::<policies::RehearseRequest>,
    check::<policies::Rehearsal>,
    check::<replication::Info>,
    check::<replication::PushAnswer>,
    check::<replication::GenerationAnswer>,
    check::<replication::GoneAnswer>,
    check::<Problem>,
    check::<edit::CatalogEdit>,
    check_lane,
    check_document,
];

fn check<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(bytes) else {
        return;
    };
    let written = serde_json::to_vec(&value).expect("what was read can be written");
    let again = serde_json::from_slice::<T>(&written);
    let again = again.unwrap_or_else(|error| {
        let written = String::from_utf8_lossy(&written);
        panic!("{written} is not understood again: {error}")
    });
    let twice = serde_json::to_vec(&again).expect("what was read can be written");
    assert_eq!(written, twice, "reading and writing it changes it");
}

/// A frame of another lane: what is understood is written and understood again.
fn check_lane(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let written = match lane::read(text) {
        Ok(lane::Frame::Entry(entry)) => lane::write_entry(&entry),
        Ok(lane::Frame::Control(control)) => lane::write(&control),
        Ok(lane::Frame::Event(event)) => lane::write_event(&event),
        Ok(lane::Frame::Unknown) | Err(_) => return,
    };
    // What came in the largest frame may need a few bytes more.
    if let Ok(written) = written {
        let (once, twice) = (lane::read(text), lane::read(&written));
        assert_eq!(once.ok(), twice.ok(), "reading and writing it changes it");
    }
}

/// Documents are judged, and their amounts computed, before anything is recorded.
fn check_document(bytes: &[u8]) {
    check::<document::Document>(bytes);
    check::<merge::Version>(bytes);
    if let Ok(document) = serde_json::from_slice::<document::Document>(bytes) {
        document.check().ok();
    }
}
