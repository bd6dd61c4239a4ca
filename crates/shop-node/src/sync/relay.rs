//! Brings to the hub what this lane holds of other lanes' journals, when they do not come themselves (X7).
//!
//! When that is, `counterfoil_domain::mesh::relay` decides. No sale waits for any of it, and whatever fails is tried
//! again at the next look.

use super::link::HubLink;
use super::wait::jittered;
use super::{Phase, SyncError};
use crate::limits::{RELAY_BATCH_BYTES, RELAY_JITTER};
use crate::node::Node;
use crate::problem::chain;
use counterfoil_domain::lineage::Point;
use counterfoil_domain::mesh::conversation::Window;
use counterfoil_domain::mesh::relay::{HubEnds, Said, Step};
use counterfoil_domain::mesh::{Holding, LaneEntry};
use counterfoil_domain::{NodeId, ShopId};
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::lane::{Held, ORIGINS_MAX};
use counterfoil_protocol::wire::relay::{
    RELAY_ENDS_PATH, RELAY_ENTRIES_MAX, RelayEnds, RelayEndsRequest, RelayRequest,
};
use counterfoil_shop_store::{ShopStore, StoreError};
use serde_json::json;
use std::collections::BTreeMap;

/// Looks again and again what the hub lacks of others' journals. Ends only with the task.
pub(crate) async fn run(node: Node) {
    let (mut memory, mut told) = (Memory::default(), None);
    loop {
        let random = node.inner.env.random.as_ref();
        tokio::time::sleep(jittered(RELAY_JITTER, random)).await;
        let outcome = memory.look(&node).await;
        let known = memory.ends.known().iter();
        let ends = known.map(|(origin, known)| (*origin, known.seq)).collect();
        node.inner.mesh.tell_hub_ends(ends);
        note(&outcome, &mut told);
        tokio::select! {
            biased;
            () = node.inner.mesh.lost() => {}
            () = tokio::time::sleep(node.inner.config.relay_pause()) => {}
        }
    }
}

/// Says once why a look did not come to its end. What keeps this lane's own sales from the hub too is told by the sync.
fn note(outcome: &Result<(), SyncError>, told: &mut Option<String>) {
    let Err(error) = outcome else {
        *told = None;
        return;
    };
    let is_old = matches!(error, SyncError::Refused(problem) if problem.code == Code::NotFound);
    let text = chain(error);
    if is_old {
        tracing::debug!(error = %text, "this hub takes a journal from its own lane only");
    } else if error.phase() == Phase::Failed && told.as_ref() != Some(&text) {
        tracing::warn!(error = %text, "it is not known what the hub lacks of other lanes' journals");
    } else {
        tracing::debug!(error = %text, "other lanes' journals wait");
    }
    *told = Some(text);
}

/// What is known of the hub by one identity in one shop.
#[derive(Default)]
struct Memory {
    of: Option<(NodeId, ShopId, String)>,
    ends: HubEnds,
    /// What was told of a journal, so that it is told once.
    told: BTreeMap<NodeId, String>,
}

impl Memory {
    /// Asks the hub when it may lack something, and brings what it does.
    async fn look(&mut self, node: &Node) -> Result<(), SyncError> {
        let read = node.store(|store| -> Result<_, StoreError> {
            let binding = store.binding().cloned();
            // Also of lanes that this one was paired with in trial: they may belong to its shop by now.
            Ok((store.node(), binding, store.peer_holdings()?))
        });
        let (me, binding, mut held) = read.await?;
        let of = binding.map(|binding| (me, binding.shop, binding.hub_url));
        if self.of != of {
            *self = Self {
                of,
                ..Self::default()
            };
        }
        if self.of.is_none() {
            return Ok(());
        }
        held.remove(&me);
        let asked = self.ends.look(&held);
        if asked.is_empty() {
            return Ok(());
        }
        let hub = HubLink::open_as(node, me).await?;
        let said = ask(&hub, &asked).await?;
        for origin in said.keys().copied() {
            node.store(move |store| store.meet_again(origin)).await?;
        }
        let connected = node.inner.mesh.connected();
        for step in self.ends.heard(&asked, &said, &connected) {
            match step {
                Step::Bring {
                    origin,
                    known,
                    holding,
                } => {
                    let turn = Turn {
                        node,
                        hub: &hub,
                        origin,
                        holding,
                        known,
                    };
                    self.take(turn).await?;
                }
                Step::Diverged {
                    origin,
                    known,
                    holding,
                } => {
                    let ended = Ended::Diverged(holding.end);
                    self.tell(node, (origin, known), &ended).await;
                }
            }
        }
        Ok(())
    }

    /// Brings one journal as far as that goes; an error when the others cannot go either.
    async fn take(&mut self, mut turn: Turn<'_>) -> Result<(), SyncError> {
        let (node, origin, before) = (turn.node, turn.origin, turn.known.seq);
        let ended = turn.bring().await;
        if turn.known.seq > before {
            self.ends.brought(origin, turn.known);
            let until_seq = turn.known.seq.min(turn.holding.end.seq);
            let detail = json!({"origin": origin, "from_seq": before + 1, "until_seq": until_seq});
            tracing::info!(%detail, "what another lane recorded was brought to the hub");
            node.log_mesh("info", "lane_relayed", detail).await;
        }
        match ended {
            Ok(()) => {
                self.told.remove(&origin);
            }
            Err(Ended::Hub(error)) => return Err(error),
            Err(ended) => {
                if let Ended::Diverged(end) = ended {
                    // The hub was asked about the end of what is held. Asked about where the two part, it tells a person too.
                    let begin = turn.holding.begin;
                    let parted = BTreeMap::from([(origin, Holding { begin, end })]);
                    ask(turn.hub, &parted).await?;
                }
                self.tell(node, (origin, turn.known), &ended).await;
            }
        }
        Ok(())
    }

    /// Tells a person why the hub does not get a journal, once.
    async fn tell(&mut self, node: &Node, (origin, hub): (NodeId, Point), ended: &Ended) {
        let (event, detail) = match ended {
            Ended::Diverged(here) => {
                let detail = json!({"origin": origin, "here": here, "hub": hub});
                ("relay_diverged", detail)
            }
            Ended::Refused(problem) => {
                let (code, why) = (problem.code, &problem.detail);
                let detail = json!({"origin": origin, "code": code, "why": why});
                ("relay_refused", detail)
            }
            Ended::Stuck => {
                let why = "it took entries and has no more than before";
                ("relay_refused", json!({"origin": origin, "why": why}))
            }
            Ended::Unreadable(error) => {
                let detail = json!({"node": origin, "to": "hub", "why": chain(error)});
                ("lane_unreadable", detail)
            }
            // It says nothing of this journal.
            Ended::Hub(_) => return,
        };
        // The words of a refusal may be others each time.
        let told = match ended {
            Ended::Refused(problem) => format!("{event} {:?}", problem.code),
            // The till may go on under the name meanwhile.
            Ended::Diverged(here) => format!("{event} {here:?}"),
            _ => format!("{event} {detail}"),
        };
        if self.told.get(&origin) == Some(&told) {
            return;
        }
        self.told.insert(origin, told);
        tracing::warn!(event, %detail, "another lane's journal is not brought to the hub");
        node.log_mesh("warn", event, detail).await;
    }
}

/// How far the hub has each of these journals.
async fn ask(
    hub: &HubLink<'_>,
    asked: &BTreeMap<NodeId, Holding>,
) -> Result<BTreeMap<NodeId, Said>, SyncError> {
    let holds = asked.iter().take(ORIGINS_MAX);
    let holds = holds.map(|(origin, holding)| Held::of(*origin, *holding));
    let request = RelayEndsRequest {
        holds: holds.collect(),
    };
    let answer: RelayEnds = hub.post(RELAY_ENDS_PATH, &request).await?;
    let said = answer.journals.into_iter().map(|end| {
        let (known, diverged) = (end.known, end.diverged);
        (end.origin, Said { known, diverged })
    });
    Ok(said.collect())
}

/// One journal on its way to the hub.
struct Turn<'n> {
    node: &'n Node,
    hub: &'n HubLink<'n>,
    origin: NodeId,
    /// What is held here.
    holding: Holding,
    /// What the hub has.
    known: Point,
}

/// Why a journal is not brought any further.
enum Ended {
    /// Here stands another entry than at the hub.
    Diverged(Point),
    /// The hub does not take this journal.
    Refused(Problem),
    /// The hub took entries and has no more than before.
    Stuck,
    /// What is held here is damaged, or begins too late.
    Unreadable(StoreError),
    /// The hub takes nothing now.
    Hub(SyncError),
}

impl From<SyncError> for Ended {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::Refused(problem) => match problem.code {
                Code::Unauthorized | Code::Busy | Code::NotReady | Code::NotFound => {
                    Self::Hub(SyncError::Refused(problem))
                }
                _ => Self::Refused(problem),
            },
            error => Self::Hub(error),
        }
    }
}

impl Turn<'_> {
    /// Brings entries until the hub has what is held.
    async fn bring(&mut self) -> Result<(), Ended> {
        while self.known.seq < self.holding.end.seq {
            let (origin, after) = (self.origin, self.known.seq);
            let batch = Window {
                messages: self
                    .node
                    .inner
                    .config
                    .batch_messages()
                    .min(RELAY_ENTRIES_MAX),
                bytes: RELAY_BATCH_BYTES,
            };
            let read = move |store: &mut ShopStore| store.lane_entries(origin, after, batch);
            let entries = self.node.store(read).await;
            let entries = entries.map_err(Ended::Unreadable)?;
            let gap = || Ended::Unreadable(StoreError::Gap { origin, seq: after });
            let here = entries.first().map(LaneEntry::before).ok_or_else(gap)?;
            if here != self.known {
                return Err(Ended::Diverged(here));
            }
            let answer = self.hub.relay(&RelayRequest::of(&entries)).await?;
            if answer.known.seq <= after {
                return Err(Ended::Stuck);
            }
            self.known = answer.known;
            if answer.diverged {
                return Err(Ended::Diverged(self.holding.end));
            }
        }
        Ok(())
    }
}
