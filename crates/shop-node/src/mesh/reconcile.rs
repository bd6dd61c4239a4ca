//! Compares this lane's stock with that of the others, and counts again what differs (P5).
//!
//! Levels follow from journals, which all lanes hold; where two levels differ all the same, one of the two has counted wrong, or holds
//! something damaged. Each lane looks for its own fault: no level is taken from another one.

use super::letters::{Answered, Letters};
use super::registry::inquiry::Correspondent;
use crate::limits::{
    RECONCILE_ANSWER_WITHIN, RECONCILE_APART_MAX, RECONCILE_DOCUMENTS_AT_ONCE,
    RECONCILE_DOCUMENTS_MAX, RECONCILE_NAMED_MAX, RECONCILE_PAGE_PRODUCTS,
    RECONCILE_PRODUCTS_AT_ONCE, RECONCILE_PRODUCTS_MAX, RECONCILE_SETTLE,
};
use crate::node::Node;
use crate::problem::chain;
use counterfoil_domain::stock::reconcile::{Answer, BadAnswer, Comparison, Inventory, Leaf, Range};
use counterfoil_domain::{DocumentId, NodeId};
use counterfoil_protocol::wire::lane::ReconciliationEvent;
use counterfoil_protocol::wire::lane::{
    self, InventoryAnswer, InventoryQuestion, InventoryRequest, QUESTIONS_MAX,
};
use counterfoil_protocol::wire::stock::Reconciliation;
use counterfoil_shop_store::StoreError;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::Notify;

/// Why a lane cannot be compared with.
#[derive(Debug, thiserror::Error)]
enum CompareError {
    #[error("it has not answered within {} s", RECONCILE_ANSWER_WITHIN.as_secs())]
    Silent,
    #[error("it is not connected any more")]
    Gone,
    #[error("it has not counted all that it holds")]
    Behind,
    #[error("what it answers makes no sense")]
    Senseless(#[from] BadAnswer),
    #[error("a request cannot be sent")]
    Frame(#[from] lane::FrameError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Compares after the start and again and again. Ends only with the task.
pub(crate) async fn run(node: Node) {
    let config = &node.inner.config;
    tokio::time::sleep(config.reconcile_after_start()).await;
    loop {
        if let Err(error) = node.reconcile().await {
            tracing::error!(error = %chain(&error), "stock cannot be compared with other lanes'; it is tried again");
        }
        tokio::time::sleep(config.reconcile_pause()).await;
    }
}

/// One lane that is compared with.
struct Peer {
    node: NodeId,
    letters: Arc<Letters>,
    wake: Arc<Notify>,
    /// Products of which it says something else.
    differing: BTreeSet<String>,
}

/// What one comparison cost.
#[derive(Default)]
struct Traffic {
    requests: u64,
    bytes: u64,
}

impl Node {
    /// Compares stock with all lanes that are connected, and counts again what differs.
    pub(crate) async fn reconcile(&self) -> Result<Reconciliation, StoreError> {
        let _turn = self.inner.reconciling.lock().await;
        let uncounted = self.catch_up_stock().await?;
        if uncounted > 0 {
            tracing::info!(
                uncounted,
                "stock is not compared before all of it is counted"
            );
            return Ok(Reconciliation {
                at_ms: self.now_ms(),
                uncounted,
                ..Reconciliation::default()
            });
        }
        let own = self.own_levels(&Range::all()).await?;
        let (mut outcome, mut traffic) = (Reconciliation::default(), Traffic::default());
        let peers = self.compare_all(&own, (&mut outcome, &mut traffic)).await?;
        let mut peers = self.settle(peers, (&mut outcome, &mut traffic)).await?;
        let differing = |peers: &[Peer]| -> BTreeSet<String> {
            let all = peers.iter().flat_map(|peer| peer.differing.clone());
            all.collect()
        };
        outcome.differing = differing(&peers).len();
        if outcome.differing > 0 {
            let mut corrected = BTreeSet::new();
            let (mut left, mut damaged) = (Vec::new(), BTreeMap::new());
            for mut peer in peers {
                let mended =
                    self.mend_stock(&mut peer, (&mut corrected, &mut damaged), &mut traffic);
                let mended = mended.await;
                self.keep_if_it_answers(peer, mended, (&mut left, &mut outcome))?;
            }
            (outcome.corrected, outcome.damaged) = (corrected.len(), damaged.len());
            for (origin, after) in damaged {
                self.mend_journal(origin, after).await;
            }
            let left = self
                .compare_again(left, (&mut outcome, &mut traffic))
                .await?;
            peers = self.settle(left, (&mut outcome, &mut traffic)).await?;
        }
        let open = differing(&peers).into_iter();
        outcome.open = open.take(RECONCILE_NAMED_MAX).collect();
        (outcome.lanes, outcome.at_ms) = (peers.len(), self.now_ms());
        (outcome.requests, outcome.bytes) = (traffic.requests, traffic.bytes);
        self.tell_reconciled(&outcome).await;
        Ok(outcome)
    }

    /// Compares levels with every lane that is connected and not far behind.
    async fn compare_all(
        &self,
        own: &Inventory,
        (outcome, traffic): (&mut Reconciliation, &mut Traffic),
    ) -> Result<Vec<Peer>, StoreError> {
        let own_end = self.store(|store| store.own_holding().end.seq).await;
        let correspondents = self.inner.mesh.correspondents(own_end);
        outcome.products = own.len();
        let asked: Vec<&NodeId> = correspondents.iter().map(|(node, _)| node).collect();
        if !asked.is_empty() {
            let detail = json!({"lanes": asked, "products": own.len()});
            self.log_mesh("info", "inventory_reconciliation_request", detail)
                .await;
            let products = own.len();
            self.tell_lanes(ReconciliationEvent::Request { products })
                .await;
        }
        let mut peers = Vec::new();
        for (node, correspondent) in correspondents {
            let Correspondent {
                letters,
                wake,
                apart,
            } = correspondent;
            if apart > RECONCILE_APART_MAX {
                outcome.behind += 1;
                continue;
            }
            let differing = BTreeSet::new();
            let mut peer = Peer {
                node,
                letters,
                wake,
                differing,
            };
            let compared = peer.compare(own, [Range::all()], traffic).await;
            self.keep_if_it_answers(peer, compared, (&mut peers, &mut *outcome))?;
        }
        Ok(peers)
    }

    async fn tell_reconciled(&self, outcome: &Reconciliation) {
        self.inner.mesh.reconciled(outcome.clone());
        if outcome.lanes + outcome.behind + outcome.silent == 0 {
            return;
        }
        let level = if outcome.open.is_empty() {
            "info"
        } else {
            "warn"
        };
        tracing::debug!(?outcome, "stock was compared with other lanes'");
        if !outcome.open.is_empty() {
            tracing::warn!(products = ?outcome.open, "another lane says something else of their stock: count them");
        }
        self.log_mesh(level, "inventory_reconciliation_complete", json!(outcome))
            .await;
        self.tell_lanes(ReconciliationEvent::Complete {
            differing: outcome.differing,
            corrected: outcome.corrected,
            open: outcome.open.len(),
        })
        .await;
    }

    fn keep_if_it_answers(
        &self,
        peer: Peer,
        compared: Result<(), CompareError>,
        (peers, outcome): (&mut Vec<Peer>, &mut Reconciliation),
    ) -> Result<(), StoreError> {
        match compared {
            Ok(()) => peers.push(peer),
            Err(CompareError::Store(error)) => return Err(error),
            Err(CompareError::Behind) => outcome.behind += 1,
            Err(error) => {
                if matches!(error, CompareError::Silent) {
                    peer.letters.note_silence();
                }
                tracing::info!(node = %peer.node, error = %chain(&error), "stock cannot be compared with a lane");
                outcome.silent += 1;
            }
        }
        Ok(())
    }

    /// Compares once more what differs, until what was on its way is counted on both sides.
    async fn settle(
        &self,
        mut peers: Vec<Peer>,
        (outcome, traffic): (&mut Reconciliation, &mut Traffic),
    ) -> Result<Vec<Peer>, StoreError> {
        for pause in RECONCILE_SETTLE {
            if peers.iter().all(|peer| peer.differing.is_empty()) {
                break;
            }
            tokio::time::sleep(pause).await;
            peers = self
                .compare_again(peers, (&mut *outcome, &mut *traffic))
                .await?;
        }
        Ok(peers)
    }

    async fn compare_again(
        &self,
        peers: Vec<Peer>,
        (outcome, traffic): (&mut Reconciliation, &mut Traffic),
    ) -> Result<Vec<Peer>, StoreError> {
        let mut left = Vec::new();
        for mut peer in peers {
            // The peer does so too when it is asked.
            self.catch_up_stock().await?;
            let keys = std::mem::take(&mut peer.differing);
            let keys: Vec<String> = keys.into_iter().take(RECONCILE_PRODUCTS_MAX).collect();
            let read = keys.clone();
            let own = self.store(move |store| -> Result<Vec<Leaf>, StoreError> {
                let mut leaves = Vec::new();
                for key in read {
                    leaves.extend(store.level_leaves(&Range::of(&key), 1)?);
                }
                Ok(leaves)
            });
            let own: Inventory = own.await?.into_iter().collect();
            let ranges = keys.iter().map(|key| Range::of(key));
            let compared = peer.compare(&own, ranges, traffic).await;
            self.keep_if_it_answers(peer, compared, (&mut left, &mut *outcome))?;
        }
        Ok(left)
    }

    /// Finds the documents by which products differ, and counts those again.
    async fn mend_stock(
        &self,
        peer: &mut Peer,
        (corrected, damaged): (&mut BTreeSet<String>, &mut BTreeMap<NodeId, i64>),
        traffic: &mut Traffic,
    ) -> Result<(), CompareError> {
        let products: Vec<String> = peer.differing.iter().cloned().collect();
        for products in products.chunks(RECONCILE_PRODUCTS_AT_ONCE) {
            let mut own = Vec::new();
            for sku in products {
                let read = sku.clone();
                let counted = self.store(move |store| store.effect_leaves(&read)).await?;
                own.push((sku.clone(), counted));
            }
            let found = peer.compare_products(&own, traffic).await?;
            for (sku, documents) in found {
                self.recount(&sku, documents, (&mut *corrected, &mut *damaged))
                    .await?;
            }
        }
        Ok(())
    }

    /// Counts a product again, some documents at a time.
    async fn recount(
        &self,
        sku: &str,
        documents: BTreeSet<DocumentId>,
        (corrected, damaged): (&mut BTreeSet<String>, &mut BTreeMap<NodeId, i64>),
    ) -> Result<(), StoreError> {
        let documents: Vec<DocumentId> = documents
            .into_iter()
            .take(RECONCILE_DOCUMENTS_MAX)
            .collect();
        let mut parts = documents.chunks(RECONCILE_DOCUMENTS_AT_ONCE);
        // The level is computed anew also when no document differs.
        let mut next = Some(parts.next().unwrap_or_default());
        while let Some(part) = next {
            let (name, now_ms) = (sku.to_owned(), self.now_ms());
            let part: BTreeSet<DocumentId> = part.iter().copied().collect();
            let recounted = self.store(move |store| store.recount(&name, &part, now_ms));
            let recounted = recounted.await?;
            if let Some((before, after)) = recounted.corrected {
                tracing::warn!(
                    sku,
                    before,
                    after,
                    "a level of stock was counted wrong and is put right"
                );
                corrected.insert(sku.to_owned());
            }
            for (origin, after) in recounted.damaged {
                let from = damaged.entry(origin).or_insert(after);
                *from = (*from).min(after);
            }
            next = parts.next();
        }
        Ok(())
    }

    /// Has the part of another lane's journal that is damaged here sent again by somebody who holds it; `false` when nobody is there.
    pub(crate) async fn mend_journal(&self, origin: NodeId, after: i64) -> bool {
        self.store(move |store| store.expect_again(origin)).await;
        let is_asked = self.inner.mesh.ask_from(origin, after);
        if is_asked {
            tracing::info!(%origin, after, "what is damaged of a journal is asked for again");
        }
        is_asked
    }

    /// Levels in a range.
    async fn own_levels(&self, range: &Range) -> Result<Inventory, StoreError> {
        let mut leaves: Vec<Leaf> = Vec::new();
        loop {
            let next = Range {
                from: match leaves.last() {
                    None => range.from.clone(),
                    Some(last) => Range::behind(&last.key),
                },
                to: range.to.clone(),
            };
            let read = move |store: &mut counterfoil_shop_store::ShopStore| {
                store.level_leaves(&next, RECONCILE_PAGE_PRODUCTS)
            };
            let page = self.store(read).await?;
            let is_last = page.len() < RECONCILE_PAGE_PRODUCTS;
            leaves.extend(page);
            if is_last {
                return Ok(leaves.into_iter().collect());
            }
        }
    }

    /// Answers what another lane asks.
    pub(super) async fn answer_inventory(
        &self,
        request: InventoryRequest,
    ) -> Result<InventoryAnswer, StoreError> {
        let (number, behind) = (request.number, self.catch_up_stock().await?);
        let mut answers = Vec::with_capacity(request.questions.len());
        if behind > 0 {
            return Ok(InventoryAnswer {
                number,
                answers,
                behind,
            });
        }
        // Questions about one product follow each other.
        let mut product: Option<(String, Inventory)> = None;
        for InventoryQuestion {
            product: asked,
            question,
        } in request.questions
        {
            let Some(sku) = asked else {
                let own = self.own_levels(&question.range).await?;
                answers.push(own.answer(&question));
                continue;
            };
            if product.as_ref().is_none_or(|(held, _)| *held != sku) {
                let read = sku.clone();
                let counted = self.store(move |store| store.effect_leaves(&read)).await?;
                product = Some((sku, counted));
            }
            answers.extend(
                product
                    .as_ref()
                    .map(|(_, counted)| counted.answer(&question)),
            );
        }
        Ok(InventoryAnswer {
            number,
            answers,
            behind,
        })
    }
}

impl Peer {
    /// Finds the products in these ranges of which the peer says something else.
    async fn compare(
        &mut self,
        own: &Inventory,
        ranges: impl IntoIterator<Item = Range>,
        traffic: &mut Traffic,
    ) -> Result<(), CompareError> {
        let mut comparison = Comparison::new(own, ranges);
        loop {
            let questions = comparison.questions(QUESTIONS_MAX);
            if questions.is_empty() {
                self.differing.clone_from(comparison.differing());
                return Ok(());
            }
            let questions = questions.into_iter().map(|question| InventoryQuestion {
                product: None,
                question,
            });
            let answers = self.ask(questions.collect(), traffic).await?;
            comparison.answered(&answers)?;
        }
    }

    /// Finds the documents by which products differ.
    async fn compare_products(
        &self,
        own: &[(String, Inventory)],
        traffic: &mut Traffic,
    ) -> Result<BTreeMap<String, BTreeSet<DocumentId>>, CompareError> {
        let mut comparisons: Vec<(&String, Comparison<'_>)> = own
            .iter()
            .map(|(sku, counted)| (sku, Comparison::new(counted, [Range::all()])))
            .collect();
        loop {
            let mut questions = Vec::new();
            let mut shares = Vec::new();
            for (sku, comparison) in &comparisons {
                let asked = comparison.questions(QUESTIONS_MAX - questions.len());
                shares.push(asked.len());
                questions.extend(asked.into_iter().map(|question| InventoryQuestion {
                    product: Some((*sku).clone()),
                    question,
                }));
            }
            if questions.is_empty() {
                break;
            }
            let answers = self.ask(questions, traffic).await?;
            let mut rest = answers.as_slice();
            for ((_, comparison), share) in comparisons.iter_mut().zip(shares) {
                let (own, others) = rest.split_at(share.min(rest.len()));
                comparison.answered(own)?;
                rest = others;
            }
        }
        let documents = |comparison: &Comparison<'_>| {
            let keys = comparison.differing().iter();
            keys.filter_map(|key| Leaf::document(key)).collect()
        };
        let found = comparisons.iter();
        let found = found.map(|(sku, comparison)| ((*sku).clone(), documents(comparison)));
        Ok(found.collect())
    }

    /// Asks, and waits for as many answers.
    async fn ask(
        &self,
        questions: Vec<InventoryQuestion>,
        traffic: &mut Traffic,
    ) -> Result<Vec<Answer>, CompareError> {
        if self.letters.is_silent() {
            return Err(CompareError::Silent);
        }
        let asked = questions.len();
        let size = serde_json::to_string(&questions).map_err(lane::FrameError::from)?;
        traffic.requests += 1;
        traffic.bytes += u64::try_from(size.len()).unwrap_or(u64::MAX);
        let answered = self.letters.ask(questions);
        self.wake.notify_one();
        let waited = tokio::time::timeout(RECONCILE_ANSWER_WITHIN, answered).await;
        let answered = waited.map_err(|_| CompareError::Silent)?;
        let Answered {
            answers,
            behind,
            bytes,
        } = answered.map_err(|_| CompareError::Gone)?;
        traffic.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        if behind > 0 {
            return Err(CompareError::Behind);
        }
        if answers.len() != asked {
            return Err(BadAnswer::COUNT.into());
        }
        Ok(answers)
    }
}
