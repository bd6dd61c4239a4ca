//! What is asked and answered on a connection beside the journals: one request of each side at a time.

use super::connection::Never;
use super::greeting::ConnectionError;
use super::registry::Seat;
use crate::node::Node;
use counterfoil_domain::stock::reconcile::Answer;
use counterfoil_protocol::wire::lane::{
    Control, InventoryAnswer, InventoryQuestion, InventoryRequest,
};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};

/// The letters of one connection.
#[derive(Default)]
pub(super) struct Letters {
    state: Mutex<State>,
    /// The peer asks something.
    pub(super) asked: Notify,
}

#[derive(Default)]
struct State {
    /// To be sent when nothing else is to be said.
    outgoing: VecDeque<Control>,
    number: u64,
    /// Who waits for the answer to the last request.
    waiting: Option<oneshot::Sender<Answered>>,
    /// What the peer asks; it asks one thing at a time.
    request: Option<InventoryRequest>,
}

/// An answer, with its bytes on the wire.
pub(super) struct Answered {
    pub(super) answers: Vec<Answer>,
    pub(super) bytes: usize,
}

impl Letters {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the peer. Whoever waited for an earlier answer gets none.
    pub(super) fn ask(&self, questions: Vec<InventoryQuestion>) -> oneshot::Receiver<Answered> {
        let (waiting, answered) = oneshot::channel();
        let mut state = self.state();
        state.number += 1;
        let number = state.number;
        state.waiting = Some(waiting);
        let request = InventoryRequest { number, questions };
        // What nobody waits for any more is not sent.
        let is_other = |it: &Control| !matches!(it, Control::InventoryRequest(_));
        state.outgoing.retain(is_other);
        state.outgoing.push_back(Control::InventoryRequest(request));
        answered
    }

    /// The peer has answered; what nobody asked is passed over.
    pub(super) fn answered(&self, answer: InventoryAnswer, bytes: usize) {
        let mut state = self.state();
        if answer.number != state.number {
            return;
        }
        if let Some(waiting) = state.waiting.take() {
            let answers = answer.answers;
            if waiting.send(Answered { answers, bytes }).is_err() {
                tracing::debug!("an answer came too late");
            }
        }
    }

    /// The peer asks; what it asked before and was not answered is forgotten.
    pub(super) fn request(&self, request: InventoryRequest) {
        self.state().request = Some(request);
        self.asked.notify_one();
    }

    pub(super) fn take_request(&self) -> Option<InventoryRequest> {
        self.state().request.take()
    }

    pub(super) fn answer(&self, answer: InventoryAnswer) {
        let mut state = self.state();
        let control = Control::InventoryResponse(answer);
        state.outgoing.push_back(control);
    }

    /// What is to be sent next.
    pub(super) fn next(&self) -> Option<Control> {
        self.state().outgoing.pop_front()
    }
}

/// Answers what the peer asks beside the journals, one request after the other.
pub(super) async fn correspond(node: &Node, seat: &Seat) -> Result<Never, ConnectionError> {
    loop {
        seat.letters.asked.notified().await;
        while let Some(request) = seat.letters.take_request() {
            seat.letters.answer(node.answer_inventory(request).await?);
            seat.wake.notify_one();
        }
    }
}
