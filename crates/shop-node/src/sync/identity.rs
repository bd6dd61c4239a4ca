//! Pushes the book under the right identity (ADR 0008).
//!
//! Hub and till may not continue each other. When the till's journal holds everything that the hub knows
//! of it, the book is the truth and takes the place of what the hub has. Otherwise the folder was restored
//! from a backup or cloned: the till goes on as another node, and nothing that only one side has
//! is lost.

use super::SyncError;
use super::link::HubLink;
use crate::credentials::token_hash;
use crate::node::{Node, StoreGate};
use counterfoil_domain::NodeId;
use counterfoil_domain::lineage::{Comparison, Former, Point};
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::hub::{HelloAnswer, book_path};
use counterfoil_protocol::wire::lineage::{
    IDENTITY_PATH, IdentityAnswer, IdentityRequest, LINEAGE_PATH, LineageAnswer, LineageRequest,
};
use counterfoil_protocol::wire::node::LogRow;
use counterfoil_replica::crash::{self, CrashPoint};
use counterfoil_replica::{PushError, PushReport, Supersede};
use counterfoil_shop_store::delivery::Reader;
use counterfoil_shop_store::{IdentityClaim, StoreError};
use serde_json::json;

/// Questions in one search for the last common entry; three do for a quarter of a million entries.
/// At the limit what is known to be common by then counts: an earlier point loses nothing.
const QUESTIONS_MAX: usize = 16;

/// Claims in one run. A second one is needed when the folder was copied after the first and the
/// copy was faster; at the limit the next run goes on.
const CLAIMS_MAX: usize = 3;

/// What became of a push.
pub(super) enum Pushed {
    Report(PushReport),
    /// Nothing was pushed: the till is another node from here on.
    Renamed,
}

/// Brings the hub's copy up to the book, or gives the till the identity under which that can be done.
pub(super) async fn push(
    node: &Node,
    hub: &HubLink<'_>,
    hello: &HelloAnswer,
    gate: &StoreGate,
) -> Result<Pushed, SyncError> {
    let remote = hub.remote(&book_path(hub.node_id));
    let book = &node.inner.book;
    // A long book over a slow line is no silence.
    let lives = |_| node.inner.monitor.turned();
    let known = hello.known.clone();
    let holds = node.store(move |store| store.holds(&known)).await?;
    if holds && hello.halted.is_none() {
        match book.push(&remote, gate, &lives, Supersede::Never).await {
            Ok(report) => return Ok(Pushed::Report(report)),
            Err(error @ PushError::Diverged { .. }) => {
                tracing::info!(%error, "the hub's copy does not continue in this book");
            }
            Err(error) => return Err(error.into()),
        }
    }
    // Before the comparison: a twin that pushes after it is not overwritten.
    let seen = book.seen(&remote).await?;
    let compared = compare(node, hub).await?;
    if compared.parted().is_none() {
        let report = book
            .push(&remote, gate, &lives, Supersede::Only(seen))
            .await?;
        return Ok(Pushed::Report(report));
    }
    change(node, hub, compared.common()).await?;
    Ok(Pushed::Renamed)
}

/// How far the journal agrees with what the hub has of it under the link's identity.
async fn compare(node: &Node, hub: &HubLink<'_>) -> Result<Comparison, SyncError> {
    let mut comparison = Comparison::default();
    let mut range = LineageRequest::default();
    for _ in 0..QUESTIONS_MAX {
        let answer: LineageAnswer = hub.post(LINEAGE_PATH, &range).await?;
        let news = !answer.points.is_empty();
        comparison = node
            .store(move |store| -> Result<_, StoreError> {
                for point in answer.points {
                    comparison.add(point, store.chain_at(point.seq)?);
                }
                Ok(comparison)
            })
            .await?;
        if comparison.is_exact() || !news {
            break;
        }
        range = LineageRequest {
            after_seq: comparison.common().seq,
            before_seq: comparison.parted(),
        };
    }
    Ok(comparison)
}

/// Gives the till a new identity. May be cut off anywhere: the claim is in the book and its token in the
/// credential store before it is sent, and the same claim is sent until it is answered.
async fn change(node: &Node, hub: &HubLink<'_>, common: Point) -> Result<(), SyncError> {
    for _ in 0..CLAIMS_MAX {
        let now_ms = node.now_ms();
        let claim = node
            .store(move |store| store.claim_identity(common, now_ms))
            .await?;
        // A claim begins a series.
        node.inner.to_mark.notify_one();
        crash::pass(CrashPoint::IdentityClaimed);
        match ask(node, hub, claim.node, claim.common).await {
            Ok(answer) => {
                crash::pass(CrashPoint::IdentityAnswered);
                return take(node, hub.node_id, claim, answer).await;
            }
            // This folder was copied after the claim, and the copy has become that node.
            Err(SyncError::Refused(problem)) if problem.code == Code::Conflict => {
                tracing::warn!(node = %claim.node, "a copy of this folder took the identity");
                node.store(|store| store.drop_identity_claim()).await?;
                node.inner.to_mark.notify_one();
            }
            Err(error) => return Err(error),
        }
    }
    Err(SyncError::Unsettled)
}

async fn ask(
    node: &Node,
    hub: &HubLink<'_>,
    wanted: NodeId,
    common: Point,
) -> Result<IdentityAnswer, SyncError> {
    let credentials = node.inner.credentials.of(wanted);
    let token = credentials.token_or_mint(node.inner.env.random.as_ref())?;
    crash::pass(CrashPoint::IdentityMinted);
    let request = IdentityRequest {
        node: wanted,
        token_hash: token_hash(&token),
        common,
        schemas: node.inner.schemas,
    };
    hub.post(IDENTITY_PATH, &request).await
}

async fn take(
    node: &Node,
    former: NodeId,
    claim: IdentityClaim,
    answer: IdentityAnswer,
) -> Result<(), SyncError> {
    let now_ms = node.now_ms();
    let former_lane = node
        .store(move |store| -> Result<_, StoreError> {
            // Under the new name the hub has nothing yet; whoever dies in between has said too little.
            store.note(Reader::HubReceived, claim.common.seq, now_ms)?;
            store.take_identity(&claim, &answer)?;
            Ok(store.formers().last().map(|former| former.lane))
        })
        .await?;
    crash::pass(CrashPoint::IdentityTaken);
    let (lane, common_seq) = (answer.lane, claim.common.seq);
    tracing::warn!(
        %former, node = %claim.node, lane, common_seq,
        "this till was restored from a backup or cloned: it goes on under a new identity"
    );
    node.inner.news.bound();
    node.inner.to_mark.notify_one();
    node.log(LogRow {
        at_ms: now_ms,
        level: "warn".to_owned(),
        event: "identity_changed".to_owned(),
        detail: json!({
            "former_node_id": former,
            "former_lane": former_lane,
            "node_id": claim.node,
            "lane": lane,
            "common_seq": common_seq,
        }),
    })
    .await;
    Ok(())
}

/// The hub does not know this till's token: it was restored from a backup that is older than the
/// till. What took the till in then is asked for again; false when that does not help.
pub(super) async fn readmit(node: &Node) -> Result<bool, SyncError> {
    let mut formers = node.store(|store| store.formers().to_vec()).await;
    // Who was given up in trial is somebody else.
    formers.retain(|former| former.lane != Former::NO_LANE);
    // The latest that the hub knows; an older backup knows fewer.
    for former in formers.iter().rev() {
        if let Some(done) = readmit_as_heir(node, former).await? {
            return Ok(done);
        }
    }
    let first = formers.first();
    let own = node.store(|store| store.node()).await;
    let oldest = first.map_or(own, |former| former.node);
    if !crate::activation::repeat(node, oldest).await {
        return Ok(false);
    }
    match first {
        Some(former) => Ok(readmit_as_heir(node, former).await? == Some(true)),
        None => Ok(true),
    }
}

/// Claims the present identity again with the token of a former one; `None` when the hub does not
/// know that one either.
async fn readmit_as_heir(node: &Node, former: &Former) -> Result<Option<bool>, SyncError> {
    let hub = match HubLink::open_as(node, former.node).await {
        Ok(hub) => hub,
        Err(SyncError::NoToken) => return Ok(None),
        Err(error) => return Err(error),
    };
    let asked = async {
        let common = compare(node, &hub).await?.common();
        let common = if common.seq < former.common.seq {
            common
        } else {
            former.common
        };
        let own = node.store(|store| store.node()).await;
        ask(node, &hub, own, common).await
    };
    match asked.await {
        Ok(answer) => {
            node.store(move |store| store.take_lane(&answer)).await?;
            node.inner.to_mark.notify_one();
            tracing::warn!(
                lane = answer.lane,
                "the hub had forgotten this till and knows it again"
            );
            Ok(Some(true))
        }
        Err(SyncError::Refused(problem)) if problem.status == 401 => Ok(None),
        Err(SyncError::Refused(problem)) => {
            tracing::info!(%problem, "the hub does not take this till in again");
            Ok(Some(false))
        }
        Err(error) => Err(error),
    }
}
