//! What is asked and answered on a connection beside the journals: one request of each side at a time.

use super::connection::Never;
use super::greeting::ConnectionError;
use super::registry::Seat;
use crate::limits::{PEER_EVENT_PAUSE, RIGHTS_REQUESTS_MAX};
use crate::node::Node;
use crate::problem::chain;
use counterfoil_domain::stock::reconcile::Answer;
use counterfoil_protocol::wire::escrow::RightsRequest;
use counterfoil_protocol::wire::lane::{
    self, Control, EventMessage, FrameError, InventoryAnswer, InventoryQuestion, InventoryRequest,
};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// The letters of one connection.
#[derive(Default)]
pub(super) struct Letters {
    state: Mutex<State>,
    /// The peer asks something, or tells something.
    pub(super) asked: Notify,
    /// The peer asks for rights.
    pub(super) rights_asked: Notify,
}

#[derive(Default)]
struct State {
    /// To be sent when nothing else is to be said.
    outgoing: VecDeque<Letter>,
    number: u64,
    /// Who waits for the answer to the last request.
    waiting: Option<oneshot::Sender<Answered>>,
    is_silent: bool,
    /// What the peer asks; it asks one thing at a time.
    request: Option<InventoryRequest>,
    /// Rights that it asks for.
    rights: VecDeque<RightsRequest>,
    /// What it told last.
    event: Option<EventMessage>,
}

/// What is sent.
#[derive(Debug)]
pub(super) enum Letter {
    Control(Control),
    Event(EventMessage),
}

impl Letter {
    pub(super) fn text(&self) -> Result<String, FrameError> {
        match self {
            Self::Control(control) => lane::write(control),
            Self::Event(event) => lane::write_event(event),
        }
    }
}

/// An answer, with its bytes on the wire.
pub(super) struct Answered {
    pub(super) answers: Vec<Answer>,
    /// Entries that the peer has not counted yet.
    pub(super) behind: i64,
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
        let is_other = |it: &Letter| !matches!(it, Letter::Control(Control::InventoryRequest(_)));
        state.outgoing.retain(is_other);
        let letter = Letter::Control(Control::InventoryRequest(request));
        state.outgoing.push_back(letter);
        answered
    }

    /// The peer has answered; what nobody asked is passed over.
    pub(super) fn answered(&self, answer: InventoryAnswer, bytes: usize) {
        let mut state = self.state();
        if answer.number != state.number {
            return;
        }
        if let Some(waiting) = state.waiting.take() {
            let InventoryAnswer {
                answers, behind, ..
            } = answer;
            let answered = Answered {
                answers,
                behind,
                bytes,
            };
            if waiting.send(answered).is_err() {
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
        // Whoever asks again does not wait for what it asked before.
        let is_other = |it: &Letter| !matches!(it, Letter::Control(Control::InventoryResponse(_)));
        state.outgoing.retain(is_other);
        let letter = Letter::Control(Control::InventoryResponse(answer));
        state.outgoing.push_back(letter);
    }

    /// Asks the peer for rights.
    pub(super) fn ask_rights(&self, request: RightsRequest) {
        let mut state = self.state();
        let is_rights = |it: &&Letter| matches!(it, Letter::Control(Control::EscrowRequest(_)));
        // Sales that have waited for longer than it takes to send so many have been refused.
        if state.outgoing.iter().filter(is_rights).count() < RIGHTS_REQUESTS_MAX {
            let letter = Letter::Control(Control::EscrowRequest(request));
            state.outgoing.push_back(letter);
        }
    }

    /// The peer asks for rights.
    pub(super) fn rights_request(&self, request: RightsRequest) {
        let mut state = self.state();
        if state.rights.len() < RIGHTS_REQUESTS_MAX {
            state.rights.push_back(request);
            self.rights_asked.notify_one();
        }
    }

    pub(super) fn take_rights_request(&self) -> Option<RightsRequest> {
        self.state().rights.pop_front()
    }

    /// Tells the peer what happened here; of one topic the newest that was not sent yet.
    pub(super) fn tell(&self, event: EventMessage) {
        let mut state = self.state();
        let topic = event.event.topic();
        let is_other =
            |it: &Letter| !matches!(it, Letter::Event(told) if told.event.topic() == topic);
        state.outgoing.retain(is_other);
        state.outgoing.push_back(Letter::Event(event));
    }

    /// The peer tells what happened there; of what it tells while that is noted the newest counts.
    pub(super) fn told(&self, event: EventMessage) {
        self.state().event = Some(event);
        self.asked.notify_one();
    }

    pub(super) fn take_event(&self) -> Option<EventMessage> {
        self.state().event.take()
    }

    /// The connection is over: nobody waits any longer.
    pub(super) fn close(&self) {
        self.state().waiting = None;
    }

    /// The peer has not answered in time, and is not asked any more on this connection.
    pub(super) fn note_silence(&self) {
        self.state().is_silent = true;
    }

    pub(super) fn is_silent(&self) -> bool {
        self.state().is_silent
    }

    /// What is to be sent next.
    pub(super) fn next(&self) -> Option<Letter> {
        self.state().outgoing.pop_front()
    }
}

/// Answers what the peer asks beside the journals, one request after the other.
pub(super) async fn correspond(node: &Node, seat: &Seat) -> Result<Never, ConnectionError> {
    let mut noted: Option<Instant> = None;
    loop {
        seat.letters.asked.notified().await;
        let may_note = noted.is_none_or(|noted| noted.elapsed() >= PEER_EVENT_PAUSE);
        if let Some(told) = seat.letters.take_event()
            && may_note
            && node.note_event(&told).await
        {
            noted = Some(Instant::now());
        }
        while let Some(request) = seat.letters.take_request() {
            let number = request.number;
            let answer = node.answer_inventory(request).await;
            let answer = answer.unwrap_or_else(|error| {
                tracing::error!(error = %chain(&error), "stock cannot be read for another lane");
                InventoryAnswer {
                    number,
                    answers: Vec::new(),
                    behind: 0,
                }
            });
            seat.letters.answer(answer);
            seat.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_and_one_answer_wait_however_often_they_are_asked_for() {
        let letters = Letters::default();
        let mut asked = Vec::new();
        for number in 0..1_000 {
            asked.push(letters.ask(Vec::new()));
            let questions = Vec::new();
            letters.request(InventoryRequest { number, questions });
            letters.answer(InventoryAnswer {
                number,
                answers: Vec::new(),
                behind: 0,
            });
        }
        assert_eq!(letters.take_request().map(|it| it.number), Some(999));
        assert!(letters.take_request().is_none());
        let waiting = [letters.next(), letters.next(), letters.next()];
        assert!(
            matches!(
                &waiting,
                [
                    Some(Letter::Control(Control::InventoryRequest(
                        InventoryRequest { number: 1_000, .. }
                    ))),
                    Some(Letter::Control(Control::InventoryResponse(
                        InventoryAnswer { number: 999, .. }
                    ))),
                    None
                ]
            ),
            "{waiting:?}"
        );
    }
}
