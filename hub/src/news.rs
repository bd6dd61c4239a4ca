//! Who listens, and how far the catalog is.
//!
//! There is no queue: a listener that was slow is told the newest only, so it costs no more than a
//! fast one.

use crate::limits::LISTENERS_MAX;
use counterfoil_domain::NodeId;
use counterfoil_replica::CopyInfo;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How far a database is: its generation, and the last committed frame of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Place {
    pub(crate) generation: u64,
    pub(crate) frame: u64,
}

impl Place {
    pub(crate) fn of(info: &CopyInfo) -> Self {
        Self {
            generation: info.generation,
            frame: info.committed_frame_no,
        }
    }
}

/// See the module.
pub(crate) struct News {
    state: Arc<Mutex<State>>,
}

struct State {
    catalog: Place,
    /// How often the place was to be told again.
    repeated: u64,
    /// By node, so that they are woken in the same order every time.
    open: BTreeMap<NodeId, Slot>,
    opened: u64,
    closed: bool,
}

impl State {
    fn wake(&self) {
        for slot in self.open.values() {
            slot.wake.notify_one();
        }
    }
}

/// A stream; it ends when its slot is not there any more.
struct Slot {
    number: u64,
    wake: Arc<Notify>,
}

impl News {
    pub(crate) fn new(catalog: Place) -> Self {
        let state = State {
            catalog,
            repeated: 0,
            open: BTreeMap::new(),
            opened: 0,
            closed: false,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Tells every listener how far the catalog is, when that is news.
    pub(crate) fn catalog_is_at(&self, place: Place) {
        let mut state = lock(&self.state);
        if state.catalog == place {
            return;
        }
        state.catalog = place;
        state.wake();
    }

    /// Tells every listener once more how far the catalog is: whoever does not have it may ask again.
    pub(crate) fn repeat(&self) {
        let mut state = lock(&self.state);
        state.repeated += 1;
        state.wake();
    }

    /// Lets a node listen. Its earlier stream ends: a node opens another one when it has lost the one
    /// before, which the hub may not have noticed. `None` when there is no room, or the hub stops.
    pub(crate) fn listen(&self, node: NodeId) -> Option<Listener> {
        let mut state = lock(&self.state);
        let full = state.open.len() >= LISTENERS_MAX && !state.open.contains_key(&node);
        if state.closed || full {
            return None;
        }
        state.opened += 1;
        let (number, wake) = (state.opened, Arc::new(Notify::new()));
        let slot = Slot {
            number,
            wake: Arc::clone(&wake),
        };
        if let Some(earlier) = state.open.insert(node, slot) {
            earlier.wake.notify_one();
        }
        Some(Listener {
            node,
            number,
            wake,
            told: state.catalog,
            repeated: state.repeated,
            state: Arc::clone(&self.state),
        })
    }

    /// Ends the stream of a node, if it listens.
    pub(crate) fn end(&self, node: NodeId) {
        if let Some(slot) = lock(&self.state).open.remove(&node) {
            slot.wake.notify_one();
        }
    }

    /// Ends all streams; nobody may listen any more.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        for slot in std::mem::take(&mut state.open).into_values() {
            slot.wake.notify_one();
        }
    }

    /// How many nodes listen.
    pub(crate) fn listeners(&self) -> usize {
        lock(&self.state).open.len()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // No holder leaves it half changed.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One open stream; it makes room when it is dropped.
pub(crate) struct Listener {
    node: NodeId,
    number: u64,
    wake: Arc<Notify>,
    told: Place,
    repeated: u64,
    state: Arc<Mutex<State>>,
}

impl Listener {
    /// How far the catalog was when last told.
    pub(crate) fn told(&self) -> Place {
        self.told
    }

    /// Waits for news of the catalog; `None` when the stream must end. Safe to drop while it waits.
    pub(crate) async fn news(&mut self) -> Option<Place> {
        loop {
            let (catalog, repeated) = {
                let state = lock(&self.state);
                let own = state.open.get(&self.node);
                if own.is_none_or(|slot| slot.number != self.number) {
                    return None;
                }
                (state.catalog, state.repeated)
            };
            if (catalog, repeated) != (self.told, self.repeated) {
                (self.told, self.repeated) = (catalog, repeated);
                return Some(catalog);
            }
            self.wake.notified().await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        let own = state.open.get(&self.node);
        if own.is_some_and(|slot| slot.number == self.number) {
            state.open.remove(&self.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterfoil_domain::env::uuid_v7;
    use counterfoil_testkit::SeededRandom;

    fn place(frame: u64) -> Place {
        let generation = 1;
        Place { generation, frame }
    }

    fn nodes(count: usize) -> Vec<NodeId> {
        let random = SeededRandom::new(1);
        let node = |_| NodeId::from_uuid(uuid_v7(0, &random));
        (0..count).map(node).collect()
    }

    #[tokio::test]
    async fn a_listener_is_told_the_newest_only() {
        let (news, node) = (News::new(place(1)), nodes(1)[0]);
        let mut listener = news.listen(node).unwrap();
        assert_eq!(listener.told(), place(1));
        for frame in 2..100 {
            news.catalog_is_at(place(frame));
        }
        assert_eq!(listener.news().await, Some(place(99)));
        news.catalog_is_at(place(99));
        news.catalog_is_at(place(100));
        assert_eq!(listener.news().await, Some(place(100)));
        news.repeat();
        assert_eq!(listener.news().await, Some(place(100)));
    }

    #[tokio::test]
    async fn a_node_has_one_stream_and_the_newer_one_stays() {
        let (news, node) = (News::new(place(1)), nodes(1)[0]);
        let mut first = news.listen(node).unwrap();
        let mut second = news.listen(node).unwrap();
        assert_eq!(first.news().await, None);
        drop(first);
        assert_eq!(news.listeners(), 1);
        news.catalog_is_at(place(2));
        assert_eq!(second.news().await, Some(place(2)));
        news.end(node);
        assert_eq!(second.news().await, None);
    }

    #[tokio::test]
    async fn there_is_room_for_so_many_listeners_and_none_after_the_end() {
        let news = News::new(place(1));
        let nodes = nodes(LISTENERS_MAX + 1);
        let listen = |node: &NodeId| news.listen(*node);
        let mut open: Vec<_> = nodes[1..]
            .iter()
            .map(|node| listen(node).unwrap())
            .collect();
        assert!(news.listen(nodes[0]).is_none());
        open.pop();
        open.push(news.listen(nodes[0]).unwrap());
        // Who listens already may come again.
        open.push(news.listen(nodes[0]).unwrap());
        news.close();
        assert_eq!(open.pop().unwrap().news().await, None);
        drop(open);
        assert!(news.listen(nodes[0]).is_none());
    }
}
