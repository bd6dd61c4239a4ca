//! One connection with a peer: frames in, frames out, until it is over.

use super::Me;
use super::escrow::give_away;
use super::greeting::{ConnectionError, Greeted, Socket, greet, refuse};
use super::letters::correspond;
use super::line::{self, Comes, Line};
use super::meter::{Meter, while_passing};
use super::mouth::Mouth;
use super::packing::{Incoming, Understood};
use super::pairing;
use super::rate::Rate;
use super::registry::{Introduced, NoSeat, OwnJournal, Seat};
use super::trust;
use crate::limits::{PEER_BATCH_BYTES, PEER_GREETING_WITHIN, PEER_STEP_WITHIN};
use crate::node::Node;
use crate::problem::chain;
use counterfoil_domain::NodeId;
use counterfoil_domain::lineage::Point;
use counterfoil_domain::mesh::LaneEntry;
use counterfoil_domain::mesh::conversation::Conversation;
use counterfoil_protocol::wire::lane::{Control, FRAME_BYTES_MAX, Frame, ORIGINS_MAX, RefusalCode};
use counterfoil_protocol::wire::mesh::FoundBy;
use counterfoil_protocol::wire::pairing::PAIR_PATH;
use counterfoil_replica::env::Io;
use counterfoil_shop_store::{ShopStore, StoreError};
use futures_util::stream::SplitStream;
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

/// How a frame is read: nothing larger than any frame is kept in memory.
pub(super) fn web_socket() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX))
}

/// How it came that somebody is at the other end.
pub(super) enum Came {
    /// It connected, and has a place until it is let in.
    ByItself(OwnedSemaphorePermit),
    /// This lane dialed, and has a place for that until it knows who it is; without one it may wait for long.
    Dialed(FoundBy, Option<OwnedSemaphorePermit>),
}

/// Somebody who connected, with the place that it has until it is let in.
pub(super) async fn incoming(node: &Node, me: &Me, io: Box<dyn Io>, place: OwnedSemaphorePermit) {
    let until = Instant::now() + PEER_GREETING_WITHIN;
    let ended = match tokio::time::timeout_at(until, line::answer(node, me, io)).await {
        Ok(Ok(Comes::Newcomer(socket))) => {
            let _place = place;
            pairing::answer(node, me, (socket, until)).await;
            return;
        }
        Ok(Ok(Comes::Peer(line))) => {
            match carry(node, me, (line, until), Came::ByItself(place)).await {
                // Anybody can come and say that.
                (None, ended @ ConnectionError::Refused { .. }) => {
                    tracing::debug!(error = %chain(&ended), "somebody came and did not want to stay");
                    return;
                }
                (_, ended) => ended,
            }
        }
        Ok(Err(error)) => error,
        Err(_) => ConnectionError::Silent(PEER_GREETING_WITHIN),
    };
    note_refusal(node, &line::explained(ended)).await;
}

/// What somebody asked for who came without TLS or with it.
#[derive(Default)]
pub(super) struct Asked {
    /// To be taken in by a code.
    pub(super) to_pair: bool,
}

/// A page in a browser on this machine is no lane, whoever wrote it.
#[expect(
    clippy::result_large_err,
    reason = "the shape that the library asks for"
)]
pub(super) fn no_page(
    asked: &mut Asked,
) -> impl FnOnce(&Request, Response) -> Result<Response, ErrorResponse> + Unpin {
    move |request, response| {
        if request.headers().contains_key(http::header::ORIGIN) {
            let mut refused = ErrorResponse::new(Some("lanes are no web pages".to_owned()));
            *refused.status_mut() = http::StatusCode::FORBIDDEN;
            return Err(refused);
        }
        asked.to_pair = request.uri().path() == PAIR_PATH;
        Ok(response)
    }
}

/// Says now and then why somebody was not let in, however often it comes.
pub(super) async fn note_refusal(node: &Node, ended: &ConnectionError) {
    let code = match ended {
        ConnectionError::Refusing { code, .. } | ConnectionError::Refused { code, .. } => *code,
        // Damaged, or made up: nobody who keeps to the exchange says that.
        ConnectionError::Frame(_) => RefusalCode::Malformed,
        _ => {
            tracing::debug!(error = %chain(ended), "a connection with a lane is over");
            return;
        }
    };
    if matches!(code, RefusalCode::Duplicate | RefusalCode::Myself) {
        tracing::debug!(error = %chain(ended), "a connection with a lane is not needed");
        return;
    }
    let text = chain(ended);
    let is_told = matches!(ended, ConnectionError::Refused { .. });
    if node.inner.mesh.refused(&text, is_told) {
        tracing::warn!(error = %text, "a lane was not let in");
        let detail = json!({"error": text, "code": code});
        node.log_mesh("warn", "lane_refused", detail).await;
    }
}

/// Greets, until then at most, and converses to the end; says with whom, and why it ended.
pub(super) async fn carry(
    node: &Node,
    me: &Me,
    (line, until): (Line, Instant),
    came: Came,
) -> (Option<NodeId>, ConnectionError) {
    let (found_by, place) = match came {
        Came::ByItself(place) => (None, Some(place)),
        Came::Dialed(found_by, place) => (Some(found_by), place),
    };
    let Line {
        mut socket,
        way,
        meter,
    } = line;
    let greeted = match greet(node, me, (&mut socket, &way, until), (&meter, found_by)).await {
        Ok(greeted) => greeted,
        Err(ConnectionError::Met(peer)) => return (Some(peer), ConnectionError::Met(peer)),
        Err(error) => return (None, error),
    };
    // Others may have its place now.
    drop(place);
    let Greeted {
        peer,
        holds,
        fits,
        packs,
    } = greeted;
    let peer = Introduced { found_by, ..peer };
    let of_this = holds.get(&me.node).map(|held| held.end);
    let seat = match node.inner.mesh.seat(peer, holds, fits, node.now_ms()) {
        Ok(seat) => seat,
        Err(none) => {
            let (code, detail) = match none {
                NoSeat::Duplicate => (RefusalCode::Duplicate, "the two are connected already"),
                NoSeat::TooMany => (
                    RefusalCode::TooMany,
                    "as many lanes are connected as may be",
                ),
            };
            let error = ConnectionError::refusing(code, detail);
            refuse(&mut socket, &error).await;
            return (Some(peer.node), error);
        }
    };
    let _unseats = Unseat { node, seat: &seat };
    let secured = !way.is_plain();
    let detail = json!({"node": peer.node, "lane": peer.lane, "secured": secured});
    tracing::info!(node = %peer.node, lane = peer.lane, ?found_by, secured, "a lane is connected");
    node.log_mesh("info", "lane_connected", detail).await;
    judge(node, peer.node, fits, of_this).await;
    node.inner.mesh.meet();
    let ended = tokio::select! {
        biased;
        ended = line::ends(node, me, (peer.node, &way), &seat.wake) => ended,
        ended = converse(node, me, &seat, (socket, &meter, packs)) => ended,
    };
    let text = chain(&ended);
    tracing::info!(node = %peer.node, lane = peer.lane, why = %text, "a lane is not connected any more");
    let detail = json!({"node": peer.node, "lane": peer.lane, "why": text});
    node.log_mesh("info", "lane_lost", detail).await;
    (Some(peer.node), ended)
}

/// Gives up the seat, also when the task is aborted.
struct Unseat<'n> {
    node: &'n Node,
    seat: &'n Seat,
}

impl Drop for Unseat<'_> {
    fn drop(&mut self) {
        self.node.inner.mesh.unseat(self.seat);
        self.seat.letters.close();
    }
}

/// Leaves the receipt series when a peer knows more of this till than it does itself (X8), and tells a person.
async fn judge(node: &Node, peer: NodeId, fits: OwnJournal, theirs: Option<Point>) {
    let what = match fits {
        OwnJournal::Fits => {
            let forgotten = node.store(move |store| store.forget_branch(peer));
            if let Err(error) = forgotten.await {
                tracing::warn!(error = %chain(&error), %peer, "what it held once cannot be forgotten");
            }
            return;
        }
        OwnJournal::Longer => "it holds more of this till's book than this till",
        OwnJournal::Other => "it holds other entries under this till's name",
    };
    if let Some(theirs) = theirs {
        let (why, now_ms) = (format!("a lane of the shop: {what}"), node.now_ms());
        let fenced = node.store(move |store| store.fence_for((peer, theirs), &why, now_ms));
        if let Err(error) = fenced.await {
            tracing::error!(error = %chain(&error), "the receipt series cannot be left");
        }
        node.inner.to_mark.notify_one();
    }
    tracing::error!(%peer, what, "this till was restored from a backup, or cloned");
    let detail = json!({"node": peer, "why": what});
    node.log_mesh("error", "lane_diverged", detail).await;
}

async fn converse(
    node: &Node,
    me: &Me,
    seat: &Seat,
    (socket, meter, packs): (Socket, &Meter, bool),
) -> ConnectionError {
    let (sink, stream) = socket.split();
    let mut mouth = Mouth::new(node, me, seat, (sink, meter), packs);
    let mut ear = Ear {
        node,
        me,
        seat,
        stream,
        meter,
        incoming: Incoming::new(packs),
    };
    let ended = tokio::select! {
        biased;
        () = seat.replaced.notified() => return ConnectionError::Replaced,
        ended = ear.hear() => ended,
        ended = give_away(node, seat) => ended,
        ended = correspond(node, seat) => ended,
        ended = mouth.speak() => ended,
    };
    let error = match ended {
        Ok(never) => match never {},
        Err(error) => error,
    };
    mouth.refuse(&error).await;
    error
}

/// What neither side of a conversation returns: it ends with an error.
pub(super) enum Never {}

/// Of a frame that is too long nothing but its head was read.
fn too_long_or_broken(error: tungstenite::Error) -> ConnectionError {
    match error {
        tungstenite::Error::Capacity(_) => {
            let detail = format!("it sent a frame of more than {FRAME_BYTES_MAX} bytes");
            ConnectionError::refusing(RefusalCode::Malformed, &detail)
        }
        broken => ConnectionError::Network(broken),
    }
}

/// What comes in.
struct Ear<'c> {
    node: &'c Node,
    me: &'c Me,
    seat: &'c Seat,
    stream: SplitStream<Socket>,
    meter: &'c Meter,
    incoming: Incoming,
}

impl Ear<'_> {
    async fn hear(&mut self) -> Result<Never, ConnectionError> {
        let patience = self.me.heartbeat * 5 / 2;
        // The peer may have heard of the end of the greeting later than this lane by what the line takes.
        let mut wait = patience + PEER_STEP_WITHIN;
        let batch_messages = self.node.inner.config.batch_messages();
        let mut rate = Rate::new();
        loop {
            let heard = while_passing(|| self.meter.heard(), wait, self.stream.next()).await;
            let heard = heard.ok_or(ConnectionError::Silent(wait))?;
            wait = patience;
            let mut batch = Vec::new();
            // What came before the connection broke is kept.
            let mut heard_bytes = 0;
            let mut broke = self.take(heard, (&mut batch, &mut heard_bytes)).err();
            let (mut frames, mut size) = (1, 0);
            // What has come meanwhile shares one sync of the disk.
            while broke.is_none()
                && frames < batch_messages
                && size.max(heard_bytes) < PEER_BATCH_BYTES
            {
                let Some(heard) = self.stream.next().now_or_never() else {
                    break;
                };
                broke = self.take(heard, (&mut batch, &mut heard_bytes)).err();
                frames += 1;
                size = batch.iter().map(LaneEntry::size).sum();
            }
            self.store(batch).await?;
            if let Some(error) = broke {
                return Err(error);
            }
            rate.keep(frames, heard_bytes).await;
        }
    }

    fn take(
        &mut self,
        heard: Option<Result<Message, tungstenite::Error>>,
        (batch, heard_bytes): (&mut Vec<LaneEntry>, &mut usize),
    ) -> Result<(), ConnectionError> {
        let message = heard.ok_or(ConnectionError::Closed)?;
        let message = message.map_err(too_long_or_broken)?;
        let Understood { frame, bytes } = self.incoming.understand(&message)?;
        *heard_bytes += bytes;
        match frame {
            Some(Frame::Entry(entry)) => {
                let wanted = self.node.inner.mesh.with(self.seat, |conversation| {
                    conversation.came(&entry);
                    conversation.asked().contains(&entry.origin)
                });
                // What was on its way when it was asked to stop is passed over.
                if wanted == Some(true) {
                    batch.push(entry);
                }
            }
            Some(Frame::Control(Control::InventoryResponse(answer))) => {
                self.seat.letters.answered(answer, bytes);
            }
            Some(Frame::Control(control)) => self.control(control)?,
            Some(Frame::Event(told)) if told.from_terminal == self.seat.peer => {
                self.seat.letters.told(told);
            }
            // What happened at another lane that one tells by itself.
            Some(Frame::Event(_) | Frame::Unknown) | None => {}
        }
        Ok(())
    }

    fn control(&self, control: Control) -> Result<(), ConnectionError> {
        let (mesh, seat) = (&self.node.inner.mesh, self.seat);
        match control {
            Control::Ack { message_id } => mesh.acked(seat, message_id),
            Control::Want { origin, after } => {
                self.check_room_for(origin)?;
                mesh.change(seat, |it| it.wanted(origin, after));
            }
            Control::Stop { origin } => mesh.change(seat, |it| it.unwanted(origin)),
            Control::Gone { origin } => mesh.change(seat, |it| it.refused(origin)),
            Control::Have(held) => {
                self.check_room_for(held.origin)?;
                let holding = held.holding()?;
                mesh.change(seat, |it| it.told(held.origin, holding));
            }
            Control::Revoked(signed) => trust::heard(self.node, &signed),
            Control::Refused { code, detail } => {
                return Err(ConnectionError::Refused { code, detail });
            }
            Control::InventoryRequest(request) => seat.letters.request(request),
            Control::EscrowRequest(request) => seat.letters.rights_request(request),
            Control::InventoryResponse(_) => {}
            Control::Hello(_) | Control::Proof { .. } | Control::Holds { .. } => {
                let detail = "it greeted a second time";
                return Err(ConnectionError::refusing(RefusalCode::Malformed, detail));
            }
        }
        Ok(())
    }

    fn check_room_for(&self, origin: NodeId) -> Result<(), ConnectionError> {
        let has_room = |it: &mut Conversation| it.has_room_for(origin, ORIGINS_MAX);
        if self.node.inner.mesh.with(self.seat, has_room) == Some(false) {
            let detail = "it speaks of more journals than a shop has";
            return Err(ConnectionError::refusing(RefusalCode::Malformed, detail));
        }
        Ok(())
    }

    /// Keeps what came, journal by journal, and only then lets it be acknowledged.
    async fn store(&self, batch: Vec<LaneEntry>) -> Result<(), ConnectionError> {
        let (mesh, seat) = (&self.node.inner.mesh, self.seat);
        let mut rest = batch.into_iter().peekable();
        while let Some(first) = rest.next() {
            let origin = first.origin;
            let mut entries = vec![first];
            while let Some(next) = rest.next_if(|next| next.origin == origin) {
                entries.push(next);
            }
            let begin = mesh.with(seat, |it| it.holds().get(&origin).map(|held| held.begin));
            let begin = begin.flatten().unwrap_or(Point::START);
            let (told, on, now_ms) = (Arc::clone(mesh), seat.clone(), self.node.now_ms());
            // On the store's thread: the connection may end meanwhile, and what is kept is kept.
            let shop = self.me.shop;
            let keep = move |store: &mut ShopStore| {
                match store.shop_of_lanes() {
                    Ok(found) if found == Some(shop) => {}
                    // What a lane of the shop that was left has said is nothing to this one.
                    Ok(_) => return None,
                    Err(error) => return Some((Err(error), None, None, None)),
                }
                let kept = store.keep_entries(origin, begin, &entries);
                let over = kept.as_ref().ok().map(|_| store.over_refunds(&entries));
                let twice = kept.as_ref().ok().map(|_| store.sold_twice(&entries));
                let escrow = kept.as_ref().ok();
                let escrow = escrow.and_then(|_| store.escrow_news(&entries, now_ms).transpose());
                if let (Ok(holding), Some(last)) = (&kept, entries.last()) {
                    told.stored(&on, last, *holding);
                }
                Some((kept, over, twice, escrow))
            };
            let kept = self.node.store(keep).await;
            let (kept, over, twice, escrow) = kept.ok_or(ConnectionError::Replaced)?;
            self.node.tell_over_refunds(origin, over).await;
            self.node.tell_sold_twice(origin, twice).await;
            self.node.tell_escrow(origin, escrow).await;
            match kept {
                Ok(_) => self.node.inner.to_count.notify_one(),
                Err(StoreError::Gap { .. }) if mesh.ask_again(seat, origin) => {}
                Err(error @ (StoreError::Forked { .. } | StoreError::Gap { .. })) => {
                    let text = chain(&error);
                    tracing::error!(%origin, error = %text, "a lane's journal does not go on as it began");
                    mesh.change(seat, |it| it.refused(origin));
                    let detail = json!({"node": origin, "from": seat.peer, "why": text});
                    self.node.log_mesh("error", "lane_forked", detail).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
