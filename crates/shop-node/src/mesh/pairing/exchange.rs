//! What two lanes say when one takes the other in by a code: hello, hello, the request with its proof, the grant with its.
//!
//! Nothing of it is a secret, and a proof names who speaks, what was said and what both drew: whoever listens learns
//! nothing that helps, and whoever changes, repeats or makes up something is not believed.

use super::super::Me;
use super::super::connection::web_socket;
use super::super::greeting::{ConnectionError, Socket, step};
use super::super::meter::Meter;
use super::super::settings::Peer;
use super::{Admitted, SignError, admit};
use crate::limits::{PEER_GREETING_BYTES_MAX, PEER_GREETING_WITHIN};
use crate::node::Node;
use crate::problem::{chain, internal};
use counterfoil_domain::NodeId;
use counterfoil_domain::hex::{array_from_hex, to_hex};
use counterfoil_domain::mesh::code::{CodeKey, CodeRefused, Parties, Role};
use counterfoil_domain::mesh::pairing::{Nonce, Party};
use counterfoil_protocol::problem::{Code, Problem};
use counterfoil_protocol::wire::lane::{Control, RefusalCode};
use counterfoil_protocol::wire::pairing::{
    PAIR_PATH, PAIR_PROTOCOL, PairFrame, PairGrant, PairHello, PairRequest,
};
use counterfoil_replica::env::public_key;
use counterfoil_shop_store::FIRST_LANE;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

/// Why a lane was not taken in.
#[derive(Debug, thiserror::Error)]
pub(super) enum PairError {
    /// The line, or what came over it.
    #[error(transparent)]
    Line(#[from] ConnectionError),
    /// The code.
    #[error("a lane wanted in by a code")]
    Code(#[from] CodeRefused),
    /// What the other lane said is not of whoever shows the code.
    #[error(
        "the answer is not of the lane that shows the code: somebody in between has changed or made it up, or the code is \
         another one"
    )]
    NotBelieved,
    /// Keys and certificates.
    #[error("the certificate cannot be made")]
    Sign(#[from] SignError),
}

impl From<serde_json::Error> for PairError {
    fn from(_: serde_json::Error) -> Self {
        malformed()
    }
}

fn malformed() -> PairError {
    refusing(RefusalCode::Malformed, "what it says cannot be understood")
}

fn refusing(code: RefusalCode, detail: &str) -> PairError {
    PairError::Line(ConnectionError::refusing(code, detail))
}

/// What a lane was given, with the seed of the key that it is for.
pub(super) struct Granted {
    pub(super) seed: [u8; 32],
    pub(super) grant: PairGrant,
}

/// Asks a lane to take this one in.
pub(super) async fn ask(
    node: &Node,
    id: NodeId,
    code: &CodeKey,
    peer: &Peer,
) -> Result<Granted, PairError> {
    let until = Instant::now() + PEER_GREETING_WITHIN;
    let asked = tokio::time::timeout_at(until, ask_in_time(node, id, code, peer)).await;
    asked.unwrap_or(Err(ConnectionError::Silent(PEER_GREETING_WITHIN).into()))
}

async fn ask_in_time(
    node: &Node,
    id: NodeId,
    code: &CodeKey,
    peer: &Peer,
) -> Result<Granted, PairError> {
    let random = node.inner.env.random.as_ref();
    let credentials = node.inner.credentials.of(id);
    let seed = credentials
        .lane_seed_or_mint(random)
        .map_err(SignError::from)?;
    let own_key = public_key(&seed).map_err(SignError::from)?;
    let dialing = node.inner.env.dial.dial(&peer.host, peer.port);
    let io = step(async { dialing.await.map_err(ConnectionError::Dial) }).await?;
    let (io, _meter) = Meter::on(io);
    let url = format!("ws://{peer}{PAIR_PATH}");
    let socket = tokio_tungstenite::client_async_with_config(url, io, Some(web_socket()));
    let mut socket = step(socket).await?.0;
    let own = introduce(node, id, &mut socket).await?;
    let parties = Parties {
        asks: own,
        gives: met(id, &hear(&mut socket).await?)?,
    };
    let said = serde_json::to_string(&PairRequest {
        public_key: to_hex(&own_key),
    })?;
    let proof = code.proof(Role::Asks, &parties, &said);
    say(&mut socket, &PairFrame::PairRequest { said, proof }).await?;
    let PairFrame::PairGrant { said, proof } = hear(&mut socket).await? else {
        return Err(malformed());
    };
    if !code.verifies(&proof, Role::Gives, &parties, &said) {
        return Err(PairError::NotBelieved);
    }
    let grant: PairGrant = serde_json::from_str(&said)?;
    if grant.lane <= FIRST_LANE {
        return Err(malformed());
    }
    Ok(Granted { seed, grant })
}

/// Answers somebody who wants in.
pub(in crate::mesh) async fn answer(node: &Node, me: &Me, (mut socket, until): (Socket, Instant)) {
    let taking = tokio::time::timeout_at(until, take_in(node, me, &mut socket));
    let silent = Err(ConnectionError::Silent(PEER_GREETING_WITHIN).into());
    match taking.await.unwrap_or(silent) {
        Ok((peer, lane)) => {
            tracing::info!(node = %peer, lane, "a lane was paired");
            let detail = json!({"node": peer, "lane": lane});
            node.log_mesh("info", "lane_paired", detail).await;
        }
        Err(error) => {
            note(node, &error).await;
            refuse(&mut socket, &error).await;
        }
    }
}

async fn take_in(node: &Node, me: &Me, socket: &mut Socket) -> Result<(NodeId, i64), PairError> {
    let asks = met(me.node, &hear(socket).await?)?;
    let gives = introduce(node, me.node, socket).await?;
    let parties = Parties { asks, gives };
    let PairFrame::PairRequest { said, proof } = hear(socket).await? else {
        return Err(malformed());
    };
    let (pairing, now_ms) = (&node.inner.pairing, node.now_ms());
    let key = pairing.take(now_ms, (&proof, &said), &parties)?;
    let request: PairRequest = serde_json::from_str(&said)?;
    let public = array_from_hex(&request.public_key).ok_or_else(malformed)?;
    let admitted = admit(node, me.shop, (asks.node, public)).await?;
    let Admitted {
        lane,
        shop,
        given,
        list,
    } = admitted.map_err(|why| refusing(RefusalCode::Revoked, why))?;
    if let Some(list) = list {
        super::trust::heard(node, &list);
    }
    let said = serde_json::to_string(&PairGrant { shop, lane, given })?;
    let proof = key.proof(Role::Gives, &parties, &said);
    say(socket, &PairFrame::PairGrant { said, proof }).await?;
    // It hangs up when it has read that.
    let _gone = step(socket.close(None)).await;
    Ok((asks.node, lane))
}

async fn introduce(node: &Node, id: NodeId, socket: &mut Socket) -> Result<Party, PairError> {
    let mut nonce: Nonce = [0; 32];
    node.inner.env.random.fill(&mut nonce);
    let hello = PairHello {
        protocol: PAIR_PROTOCOL,
        node: id,
        nonce: to_hex(&nonce),
    };
    say(socket, &PairFrame::PairHello(hello)).await?;
    Ok(Party { node: id, nonce })
}

/// Who is at the other end, as far as it says.
fn met(own: NodeId, frame: &PairFrame) -> Result<Party, PairError> {
    let PairFrame::PairHello(hello) = frame else {
        return Err(malformed());
    };
    if hello.protocol != PAIR_PROTOCOL {
        let detail = "it pairs lanes in another way: update the older one of the two";
        return Err(refusing(RefusalCode::Version, detail));
    }
    if hello.node == own {
        let detail = "it is this lane itself, or a copy of its folder";
        return Err(refusing(RefusalCode::Myself, detail));
    }
    let nonce = hello.nonce().ok_or_else(malformed)?;
    Ok(Party {
        node: hello.node,
        nonce,
    })
}

async fn say(socket: &mut Socket, frame: &PairFrame) -> Result<(), PairError> {
    let text = serde_json::to_string(frame)?;
    Ok(step(socket.send(Message::text(text))).await?)
}

async fn hear(socket: &mut Socket) -> Result<PairFrame, PairError> {
    let heard = step(async {
        loop {
            let message = socket.next().await.ok_or(ConnectionError::Closed)??;
            match message {
                Message::Text(text) => return Ok(text),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                Message::Close(_) => return Err(ConnectionError::Closed),
                Message::Binary(_) => {
                    let detail = "it sent bytes instead of text";
                    return Err(ConnectionError::refusing(RefusalCode::Malformed, detail));
                }
            }
        }
    });
    let text = heard.await?;
    if text.len() > PEER_GREETING_BYTES_MAX {
        return Err(malformed());
    }
    match serde_json::from_str(text.as_str())? {
        PairFrame::Refused { code, detail } => {
            Err(ConnectionError::Refused { code, detail }.into())
        }
        frame => Ok(frame),
    }
}

/// Says why, if that is the other's business.
async fn refuse(socket: &mut Socket, error: &PairError) {
    let (code, detail) = match error {
        PairError::Code(error) => (RefusalCode::Unpaired, error.to_string()),
        PairError::Line(ConnectionError::Refusing { code, detail }) => (*code, detail.clone()),
        PairError::Sign(_) => {
            let detail = "the lane that shows the code cannot sign: its log says why";
            (RefusalCode::Unknown, detail.to_owned())
        }
        PairError::Line(_) | PairError::NotBelieved => return,
    };
    // The same bounds as for a lane that is refused.
    if let Control::Refused { code, detail } = Control::refused(code, &detail) {
        if say(socket, &PairFrame::Refused { code, detail })
            .await
            .is_err()
        {
            tracing::debug!("somebody is gone before it heard why it was not taken in");
        }
        let _gone = step(socket.close(None)).await;
    }
}

/// Logs why somebody was not taken in: each wrong code, and anything else now and then, however often it comes.
async fn note(node: &Node, error: &PairError) {
    let text = chain(error);
    let is_attempt = matches!(
        error,
        PairError::Code(CodeRefused::Wrong { .. } | CodeRefused::Gone)
            | PairError::NotBelieved
            | PairError::Sign(_)
    );
    let is_refusal = matches!(
        error,
        PairError::Code(_) | PairError::Line(ConnectionError::Refusing { .. })
    );
    if is_attempt || (is_refusal && node.inner.mesh.refused(&text, false)) {
        tracing::warn!(error = %text, "a lane was not paired");
        node.log_mesh("warn", "pairing_refused", json!({"error": text}))
            .await;
    } else {
        tracing::debug!(error = %text, "a lane was not paired");
    }
}

/// What a person is told at the lane where the code was typed.
pub(super) async fn not_joined(node: &Node, error: &PairError, peer: &Peer) -> Problem {
    let again = "show another code there, counterfoil-node pair, and type it here";
    match error {
        PairError::Line(ConnectionError::Refused { code, detail }) => {
            let text = format!("the lane at {peer} refused: {detail}");
            tracing::warn!(%peer, detail, "this lane was not paired");
            node.log_mesh("warn", "pairing_refused", json!({"error": text}))
                .await;
            match code {
                RefusalCode::Unpaired => Problem::new(Code::JoinCodeRefused, text).hint(again),
                _ => Problem::new(Code::Conflict, text),
            }
        }
        PairError::Line(ConnectionError::Refusing { detail, .. }) => {
            note(node, error).await;
            Problem::new(Code::Conflict, format!("the lane at {peer}: {detail}"))
        }
        PairError::NotBelieved => {
            note(node, error).await;
            Problem::new(Code::Forbidden, error.to_string())
                .hint("nothing was applied; look who is on this network, then show another code")
        }
        PairError::Line(error) => {
            let text = format!("the lane at {peer} cannot be paired with: {}", chain(error));
            Problem::new(Code::NotReady, text).hint(
                "its daemon must run with `peer_listen` and show a code: counterfoil-node pair",
            )
        }
        PairError::Code(_) | PairError::Sign(_) => internal(error),
    }
}
