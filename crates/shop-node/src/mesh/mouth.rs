//! What goes out on a connection: answers, entries that the peer wants, and a sign of life when there is nothing to say.

use super::Me;
use super::connection::Never;
use super::greeting::{ConnectionError, Socket, refusal};
use super::letters::Letter;
use super::meter::{Meter, while_passing};
use super::packing::{Outgoing, Privacy};
use super::registry::Seat;
use crate::limits::{PEER_BATCH_BYTES, PEER_SEND_WITHIN, PEER_SLICE_BYTES, PEER_STEP_WITHIN};
use crate::node::Node;
use crate::problem::chain;
use counterfoil_domain::NodeId;
use counterfoil_domain::mesh::conversation::{Next, Window};
use counterfoil_domain::mesh::{LaneEntry, Subject};
use counterfoil_protocol::wire::lane::{self, Control, Held};
use counterfoil_shop_store::StoreError;
use futures_util::SinkExt as _;
use futures_util::stream::SplitSink;
use serde_json::json;
use std::collections::BTreeSet;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

/// What is said next.
enum Said {
    Next(Next),
    Letter(Letter),
    Nothing,
}

/// Entries of employees carry hashes of PINs.
fn privacy(entry: &LaneEntry) -> Privacy {
    match entry.subject() {
        Subject::Employee => Privacy::Secret,
        _ => Privacy::None,
    }
}

/// See the module.
pub(super) struct Mouth<'c> {
    node: &'c Node,
    me: &'c Me,
    seat: &'c Seat,
    sink: SplitSink<Socket, Message>,
    meter: &'c Meter,
    outgoing: Outgoing,
    /// When something was said last.
    said: Instant,
    /// Numbers of the lists of revoked lanes that the peer was told.
    told: BTreeSet<i64>,
}

impl<'c> Mouth<'c> {
    pub(super) fn new(
        node: &'c Node,
        me: &'c Me,
        seat: &'c Seat,
        (sink, meter): (SplitSink<Socket, Message>, &'c Meter),
        packs: bool,
    ) -> Self {
        Self {
            node,
            me,
            seat,
            sink,
            meter,
            outgoing: Outgoing::new(packs),
            said: Instant::now(),
            told: BTreeSet::new(),
        }
    }

    pub(super) async fn speak(&mut self) -> Result<Never, ConnectionError> {
        loop {
            self.tell_revoked().await?;
            let control = match self.next()? {
                Said::Next(Next::Ack(message_id)) => Control::Ack { message_id },
                Said::Next(Next::Want { origin, after }) => Control::Want { origin, after },
                Said::Next(Next::Stop(origin)) => Control::Stop { origin },
                Said::Next(Next::Gone(origin)) => Control::Gone { origin },
                Said::Next(Next::Have(origin, holding)) => Control::Have(Held::of(origin, holding)),
                Said::Next(Next::Read {
                    origin,
                    after,
                    room,
                }) => {
                    self.serve(origin, after, room).await?;
                    continue;
                }
                Said::Letter(letter) => {
                    self.say(letter.text()?, Privacy::None).await?;
                    continue;
                }
                Said::Nothing => {
                    // However often there is nothing to say, the peer hears that this lane is there.
                    let until = self.said + self.me.heartbeat;
                    if until <= Instant::now() {
                        self.send(Message::Ping(bytes::Bytes::new())).await?;
                    }
                    self.flush().await?;
                    let until = self.said + self.me.heartbeat;
                    let woken = self.seat.wake.notified();
                    // Either way there is something to look at.
                    let _woken = tokio::time::timeout_at(until, woken).await;
                    continue;
                }
            };
            self.say(lane::write(&control)?, Privacy::None).await?;
        }
    }

    /// What somebody waits for, then letters, then what nobody waits for.
    fn next(&self) -> Result<Said, ConnectionError> {
        let mesh = &self.node.inner.mesh;
        let first = mesh.with(self.seat, |conversation| conversation.say_first());
        if let Some(first) = first.ok_or(ConnectionError::Replaced)? {
            return Ok(Said::Next(first));
        }
        if let Some(letter) = self.seat.letters.next() {
            return Ok(Said::Letter(letter));
        }
        let then = mesh.with(self.seat, |conversation| conversation.say_then());
        let then = then.ok_or(ConnectionError::Replaced)?;
        Ok(then.map_or(Said::Nothing, Said::Next))
    }

    /// Tells the peer why the connection ends, if it is refused.
    pub(super) async fn refuse(&mut self, error: &ConnectionError) {
        let Some(Ok(text)) = refusal(error).map(|control| lane::write(&control)) else {
            return;
        };
        let told = tokio::time::timeout(PEER_STEP_WITHIN, async {
            self.sink.send(Message::text(text)).await?;
            self.sink.close().await
        });
        if let Ok(Err(error)) = told.await {
            tracing::debug!(%error, "a peer is gone before it heard why it was refused");
        }
    }

    /// Hands on which lanes were revoked, as far as the peer was not told.
    async fn tell_revoked(&mut self) -> Result<(), ConnectionError> {
        let held = self.node.inner.trust.held();
        for revoked in held.revoked.iter().rev() {
            if self.told.insert(revoked.number()) {
                let control = Control::Revoked(revoked.signed.clone());
                self.say(lane::write(&control)?, Privacy::None).await?;
            }
        }
        Ok(())
    }

    /// Sends entries of a journal, as many as there is room for.
    async fn serve(
        &mut self,
        origin: NodeId,
        after: i64,
        room: Window,
    ) -> Result<(), ConnectionError> {
        let mesh = &self.node.inner.mesh;
        let is_own = origin == self.me.node;
        if !is_own {
            // What somebody waits for does not stand in a buffer while entries of others are read.
            self.flush().await?;
        }
        let slice = if is_own {
            PEER_BATCH_BYTES
        } else {
            PEER_SLICE_BYTES
        };
        let room = Window {
            messages: room.messages.min(self.node.inner.config.batch_messages()),
            bytes: room.bytes.min(slice),
        };
        let read = self
            .node
            .store(move |store| store.lane_entries(origin, after, room));
        let mut entries = match read.await {
            Ok(entries) => entries,
            Err(error @ (StoreError::Gap { .. } | StoreError::Corrupt { .. })) => {
                let own = self.node.store(|store| store.own_holding()).await;
                let held = mesh.holdings(own).get(&origin).map_or(0, |it| it.end.seq);
                if after > held {
                    self.is_behind(origin, (held, after)).await;
                    return Ok(());
                }
                self.cannot_serve(origin, &chain(&error)).await;
                if matches!(error, StoreError::Corrupt { .. }) {
                    self.node.mend_journal(origin, after).await;
                }
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let mut texts = Vec::with_capacity(entries.len());
        for entry in &entries {
            match lane::write_entry(entry) {
                Ok(text) => texts.push((text, privacy(entry))),
                Err(error) if texts.is_empty() => {
                    self.cannot_serve(origin, &error.to_string()).await;
                    return Ok(());
                }
                // The next round begins with it.
                Err(_) => break,
            }
        }
        entries.truncate(texts.len());
        let now = self.seat.since.elapsed();
        let sent = mesh.with(self.seat, |it| it.sent((origin, after), entries, now));
        let sent = sent.ok_or(ConnectionError::Replaced)?.len();
        for (text, privacy) in texts.into_iter().take(sent) {
            self.say(text, privacy).await?;
        }
        if is_own {
            // What was recorded just now does not wait for what else is said.
            self.flush().await?;
        }
        Ok(())
    }

    /// The peer has more of a journal than this lane: nothing is damaged.
    async fn is_behind(&self, origin: NodeId, (held, after): (i64, i64)) {
        let mesh = &self.node.inner.mesh;
        mesh.change(self.seat, |conversation| conversation.cannot_serve(origin));
        tracing::info!(%origin, held, after, "another lane has more of a journal, and asks for what follows");
        let detail =
            json!({"node": origin, "to": self.seat.peer, "held_seq": held, "after": after});
        self.node.log_mesh("info", "lane_behind", detail).await;
    }

    async fn cannot_serve(&self, origin: NodeId, why: &str) {
        let mesh = &self.node.inner.mesh;
        mesh.change(self.seat, |conversation| conversation.cannot_serve(origin));
        tracing::error!(%origin, why, "a journal cannot be given to another lane any further");
        let detail = json!({"node": origin, "to": self.seat.peer, "why": why});
        self.node.log_mesh("error", "lane_unreadable", detail).await;
    }

    async fn say(&mut self, text: String, privacy: Privacy) -> Result<(), ConnectionError> {
        let plain = text.len();
        let message = self.outgoing.message(text, privacy);
        let message = message.map_err(ConnectionError::Packing)?;
        for traffic in [&*self.seat.traffic, &self.node.inner.mesh.traffic] {
            traffic.count(plain, message.len());
        }
        self.send(message).await
    }

    async fn send(&mut self, message: Message) -> Result<(), ConnectionError> {
        let feeding = self.sink.feed(message);
        let fed = while_passing(|| self.meter.said(), PEER_SEND_WITHIN, feeding).await;
        fed.ok_or(ConnectionError::Stuck)??;
        self.said = Instant::now();
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ConnectionError> {
        let flushing = self.sink.flush();
        let flushed = while_passing(|| self.meter.said(), PEER_SEND_WITHIN, flushing).await;
        Ok(flushed.ok_or(ConnectionError::Stuck)??)
    }
}
