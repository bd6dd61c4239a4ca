//! Letting a peer in: who it is, that it belongs to the shop, that it knows the secret, and what it holds.

use super::Me;
use super::line::{self, Way};
use super::meter::Meter;
use super::registry::{Introduced, OwnJournal, judge};
use crate::limits::{PEER_GREETING_BYTES_MAX, PEER_GREETING_WITHIN, PEER_STEP_WITHIN};
use crate::node::Node;
use counterfoil_domain::NodeId;
use counterfoil_domain::env::Random;
use counterfoil_domain::hex::to_hex;
use counterfoil_domain::mesh::Holding;
use counterfoil_domain::mesh::pairing::{Nonce, Party};
use counterfoil_protocol::gate::Schemas;
use counterfoil_protocol::wire::lane::{
    self, Control, FRAME_BYTES_MAX, Frame, FrameError, Held, Hello, LANE_PROTOCOL, RefusalCode,
};
use counterfoil_protocol::wire::mesh::FoundBy;
use counterfoil_replica::env::Io;
use counterfoil_shop_store::StoreError;
use futures_util::{SinkExt as _, StreamExt as _};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

pub(super) type Socket = WebSocketStream<Box<dyn Io>>;

/// Why a connection is over, or never was.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("it cannot be reached")]
    Dial(#[source] io::Error),
    #[error("the line cannot be secured")]
    Line(#[source] io::Error),
    #[error(
        "this lane has no certificate yet: it gets one when it reaches the hub, and speaks in the clear with lanes of this \
         machine only, or with a `peer_secret_file`"
    )]
    NoCertificate,
    #[error("this lane has a certificate by now: the two meet anew")]
    Upgraded,
    #[error("the connection broke")]
    Network(#[from] tungstenite::Error),
    #[error("nothing was heard of it for {0:?}")]
    Silent(Duration),
    #[error("nothing can be packed for it, or unpacked")]
    Packing(#[source] io::Error),
    #[error("it takes nothing that is sent to it")]
    Stuck,
    #[error("lane {0} was found once more, and is connected")]
    Met(NodeId),
    #[error("it ended the connection")]
    Closed,
    #[error("it refused this lane: {detail}")]
    Refused { code: RefusalCode, detail: String },
    #[error("it was refused: {detail}")]
    Refusing { code: RefusalCode, detail: String },
    #[error("what it says cannot be understood")]
    Frame(#[from] FrameError),
    #[error("another connection has taken its place")]
    Replaced,
    #[error("the store refused")]
    Store(#[from] StoreError),
}

impl ConnectionError {
    pub(super) fn refusing(code: RefusalCode, detail: &str) -> Self {
        let detail = detail.to_owned();
        Self::Refusing { code, detail }
    }
}

/// A peer that was let in, with what it holds.
pub(super) struct Greeted {
    pub(super) peer: Introduced,
    pub(super) holds: BTreeMap<NodeId, Holding>,
    /// Whether what it holds of this lane's own journal is what stands there.
    pub(super) fits: OwnJournal,
    /// Whether frames may be packed.
    pub(super) packs: bool,
}

/// Greets whoever is at the other end. Somebody who is refused is told why.
pub(super) async fn greet(
    node: &Node,
    me: &Me,
    (socket, way, until): (&mut Socket, &Way, Instant),
    (meter, found_by): (&Meter, Option<FoundBy>),
) -> Result<Greeted, ConnectionError> {
    let greeting = exchange(node, me, (socket, way), (meter, found_by));
    let greeted = tokio::time::timeout_at(until, greeting).await;
    let mut greeted = greeted.unwrap_or(Err(ConnectionError::Silent(PEER_GREETING_WITHIN)));
    if meter.is_too_much() {
        greeted = Err(too_much());
    }
    if let Err(error) = &greeted {
        refuse(socket, error).await;
    }
    greeted
}

/// One step of a greeting, which ends soon: whoever says nothing is not waited for any longer.
pub(super) async fn step<T, E: Into<ConnectionError>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, ConnectionError> {
    match tokio::time::timeout(PEER_STEP_WITHIN, work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(ConnectionError::Silent(PEER_STEP_WITHIN)),
    }
}

/// What is said to somebody who is refused.
pub(super) fn refusal(error: &ConnectionError) -> Option<Control> {
    match error {
        ConnectionError::Refusing { code, detail } => Some(Control::refused(*code, detail)),
        ConnectionError::Frame(error) => {
            let code = RefusalCode::Malformed;
            Some(Control::refused(code, &error.to_string()))
        }
        _ => None,
    }
}

/// Tells the other end why it is refused, if it is.
pub(super) async fn refuse(socket: &mut Socket, error: &ConnectionError) {
    let Some(control) = refusal(error) else {
        return;
    };
    let told = tokio::time::timeout(PEER_STEP_WITHIN, async {
        say(socket, &control).await?;
        socket.close(None).await.map_err(ConnectionError::from)
    });
    if let Ok(Err(error)) = told.await {
        tracing::debug!(%error, "a peer is gone before it heard why it was refused");
    }
}

async fn exchange(
    node: &Node,
    me: &Me,
    (socket, way): (&mut Socket, &Way),
    (meter, found_by): (&Meter, Option<FoundBy>),
) -> Result<Greeted, ConnectionError> {
    // Certificates say more than the secret does.
    let key = me.key.as_ref().filter(|_| way.is_plain());
    let mine = introduce(
        (me, key.is_some()),
        node.inner.schemas,
        node.inner.env.random.as_ref(),
    );
    let nonce = mine.nonce()?;
    say(socket, &Control::Hello(mine)).await?;
    let Control::Hello(theirs) = step(hear(socket, PEER_GREETING_BYTES_MAX)).await? else {
        return Err(out_of_order("a hello"));
    };
    admit((me, key.is_some()), &theirs)?;
    line::vouch(node, me, theirs.node, way)?;
    if found_by == Some(FoundBy::Discovered) && node.inner.mesh.is_connected(theirs.node) {
        // Somebody announces what is connected: that is no reason to make it anew.
        return Err(ConnectionError::Met(theirs.node));
    }
    if let Some(key) = key {
        let (own, other) = (party(me.node, nonce), party(theirs.node, theirs.nonce()?));
        let proof = key.proof(&own, &other, me.shop);
        say(socket, &Control::Proof { proof }).await?;
        let Control::Proof { proof } = step(hear(socket, PEER_GREETING_BYTES_MAX)).await? else {
            return Err(out_of_order("a proof"));
        };
        if !key.verifies(&proof, &other, &own, me.shop) {
            let detail = "it does not know the secret of the lanes of this shop";
            return Err(ConnectionError::refusing(RefusalCode::Unpaired, detail));
        }
    }
    meter.known();
    let own = node.store(|store| store.own_holding()).await;
    let held = node.inner.mesh.holdings(own);
    let holds = held.iter().map(|(origin, held)| Held::of(*origin, *held));
    let holds = holds.collect();
    say(socket, &Control::Holds { holds }).await?;
    let Control::Holds { holds } = step(hear(socket, FRAME_BYTES_MAX)).await? else {
        return Err(out_of_order("what it holds"));
    };
    let holds = lane::held_by_origin(&holds)?;
    let fits = compare(node, holds.get(&me.node).copied()).await?;
    Ok(Greeted {
        peer: Introduced {
            node: theirs.node,
            lane: theirs.lane,
            found_by: None,
        },
        holds,
        fits,
        packs: theirs.takes_zstd(),
    })
}

/// Compares what a peer holds of this lane's journal with the journal as it is now: after the peer has spoken, since
/// something may have been sold, and given to the peer by others, since it was told what there is.
async fn compare(node: &Node, theirs: Option<Holding>) -> Result<OwnJournal, StoreError> {
    let Some(theirs) = theirs else {
        return Ok(OwnJournal::Fits);
    };
    let read = node.store(move |store| -> Result<_, StoreError> {
        Ok((store.own_holding(), store.chain_at(theirs.end.seq)?))
    });
    let (own, at_their_end) = read.await?;
    Ok(judge(theirs, own, at_their_end))
}

fn introduce((me, secret): (&Me, bool), schemas: Schemas, random: &dyn Random) -> Hello {
    let mut nonce = [0; 32];
    random.fill(&mut nonce);
    Hello {
        protocol: LANE_PROTOCOL,
        node: me.node,
        shop: me.shop,
        lane: me.lane,
        book_schema: schemas.book,
        nonce: to_hex(&nonce),
        secret,
        compress: vec![lane::ZSTD.to_owned()],
    }
}

fn admit((me, secret): (&Me, bool), theirs: &Hello) -> Result<(), ConnectionError> {
    let wrong = if theirs.protocol != LANE_PROTOCOL {
        let detail =
            "it speaks another version of the exchange between lanes: update the older one";
        Some((RefusalCode::Version, detail))
    } else if theirs.node == me.node {
        Some((
            RefusalCode::Myself,
            "it is this lane itself, or a copy of its folder",
        ))
    } else if theirs.shop != me.shop {
        Some((RefusalCode::OtherShop, "it is a lane of another shop"))
    } else if theirs.secret != secret {
        let detail = "one of the two has a `peer_secret_file` and the other has none";
        Some((RefusalCode::Unpaired, detail))
    } else {
        None
    };
    wrong.map_or(Ok(()), |(code, detail)| {
        Err(ConnectionError::refusing(code, detail))
    })
}

fn party(node: NodeId, nonce: Nonce) -> Party {
    Party { node, nonce }
}

fn out_of_order(expected: &str) -> ConnectionError {
    let detail = format!("it said something else than {expected}");
    ConnectionError::refusing(RefusalCode::Malformed, &detail)
}

fn too_much() -> ConnectionError {
    let detail = "it says too much before it is known";
    ConnectionError::refusing(RefusalCode::Malformed, detail)
}

async fn say(socket: &mut Socket, control: &Control) -> Result<(), ConnectionError> {
    let text = lane::write(control)?;
    Ok(socket.send(Message::text(text)).await?)
}

/// The next thing that it says; what only a newer lane understands is passed over.
async fn hear(socket: &mut Socket, bytes_max: usize) -> Result<Control, ConnectionError> {
    loop {
        let message = socket.next().await.ok_or(ConnectionError::Closed)??;
        if message.len() > bytes_max {
            return Err(too_much());
        }
        match understood(&message)? {
            Some(Frame::Control(Control::Refused { code, detail })) => {
                return Err(ConnectionError::Refused { code, detail });
            }
            Some(Frame::Control(control)) => return Ok(control),
            Some(Frame::Entry(_) | Frame::Event(_)) => return Err(out_of_order("a greeting")),
            Some(Frame::Unknown) | None => {}
        }
    }
}

/// What a message says; `None` when it only shows that the other side is alive.
pub(super) fn understood(message: &Message) -> Result<Option<Frame>, ConnectionError> {
    match message {
        Message::Text(text) => Ok(Some(lane::read(text.as_str())?)),
        Message::Close(_) => Err(ConnectionError::Closed),
        Message::Binary(_) => Err(ConnectionError::refusing(
            RefusalCode::Malformed,
            "it sent bytes instead of text",
        )),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(None),
    }
}
