//! What does a pass do next? Decides, and knows no database.
//!
//! The most urgent first, over all nodes (T4), and nodes of one priority in turns, a batch each. Whoever
//! pushes while a pass runs is looked at before the next batch: what is urgent there goes ahead of what the
//! pass has still to do, the rest waits for the next pass. So a sale waits for one batch. Between two batches
//! each node is looked at once, what the pass has to do ends where the books ended when it looked, and after so many
//! urgent batches one of the others has its turn: a pass makes progress and comes to its end, however much arrives
//! meanwhile.

use crate::limits::URGENT_BATCHES_MAX;
use crate::store::Found;
use counterfoil_domain::{NodeId, Priority};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// Nodes that pushed meanwhile and were not looked at.
    late: BTreeSet<NodeId>,
    /// Nodes that the pass began with and has not looked at.
    unseen: BTreeSet<NodeId>,
    lanes: BTreeMap<Priority, VecDeque<Waiting>>,
    only_urgent: bool,
    /// Those that arrived were looked at, and no batch was moved since.
    has_looked: bool,
    /// Urgent batches since anything else had its turn.
    urgent_in_a_row: usize,
    /// Every node that was looked at.
    seen: BTreeSet<NodeId>,
    /// Nodes with something for the next pass.
    put_off: BTreeSet<NodeId>,
}

/// A node's entries of one priority.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Waiting {
    pub(super) node: NodeId,
    /// The pass does not end before entries up to here are moved; nothing for a node that came later.
    pub(super) owed_until: Option<i64>,
}

/// What a pass leaves.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Left {
    /// Every node that was looked at.
    pub(super) seen: BTreeSet<NodeId>,
    /// Nodes with something urgent, or of which nobody knows.
    pub(super) urgent: BTreeSet<NodeId>,
    /// Nodes with something else for the next pass.
    pub(super) put_off: BTreeSet<NodeId>,
}

/// One thing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Look which priorities of a node wait; whether the pass began with it.
    Survey(NodeId, bool),
    /// Move one batch.
    Step(Priority, Waiting),
}

/// Whether it goes ahead of what a pass began with.
const fn is_urgent(priority: Priority) -> bool {
    matches!(priority, Priority::Critical | Priority::High)
}

impl Pass {
    /// A pass over everything of these nodes.
    pub(super) fn over(nodes: BTreeSet<NodeId>) -> Self {
        Self {
            unseen: nodes,
            ..Self::default()
        }
    }

    /// A pass over what is urgent at these nodes.
    pub(super) fn over_urgent(nodes: BTreeSet<NodeId>) -> Self {
        Self {
            only_urgent: true,
            ..Self::over(nodes)
        }
    }

    /// Whether it wants to know who pushed meanwhile.
    pub(super) const fn is_asking(&self) -> bool {
        !self.has_looked
    }

    /// Takes note of nodes that pushed meanwhile.
    pub(super) fn arrived(&mut self, nodes: BTreeSet<NodeId>) {
        self.late.extend(nodes);
    }

    /// What comes next; nothing when all that the pass began with is done.
    pub(super) fn next(&mut self) -> Option<Next> {
        if !self.is_owing() {
            return None;
        }
        if let Some(node) = self.late.pop_first() {
            let is_owed = self.unseen.remove(&node);
            self.has_looked = !is_owed;
            return Some(Next::Survey(node, is_owed));
        }
        self.has_looked = false;
        // Before anything that can wait is moved, everybody was asked for what cannot.
        if self.urgent_in_a_row < URGENT_BATCHES_MAX
            && let Some(step) = self.step(is_urgent)
        {
            self.urgent_in_a_row += 1;
            return Some(step);
        }
        self.urgent_in_a_row = 0;
        if let Some(node) = self.unseen.pop_first() {
            return Some(Next::Survey(node, true));
        }
        self.step(|priority| !is_urgent(priority))
            .or_else(|| self.step(is_urgent))
    }

    fn is_owing(&self) -> bool {
        let mut waiting = self.lanes.values().flatten();
        !self.unseen.is_empty() || waiting.any(|waiting| waiting.owed_until.is_some())
    }

    fn step(&mut self, may_go: impl Fn(Priority) -> bool) -> Option<Next> {
        for (priority, lane) in &mut self.lanes {
            if may_go(*priority)
                && let Some(waiting) = lane.pop_front()
            {
                return Some(Next::Step(*priority, waiting));
            }
        }
        None
    }

    /// A node was looked at.
    pub(super) fn found(&mut self, node: NodeId, is_owed: bool, found: &Found) {
        self.seen.insert(node);
        let owed_until = is_owed.then_some(found.newest);
        for priority in &found.priorities {
            if is_owed && !self.only_urgent || is_urgent(*priority) {
                self.put(*priority, Waiting { node, owed_until });
            } else {
                self.put_off.insert(node);
            }
        }
    }

    /// A batch up to an entry was moved and more of the kind waits: the node takes its turn again.
    pub(super) fn moved(&mut self, priority: Priority, waiting: Waiting, until: i64) {
        let owed_until = waiting.owed_until.filter(|owed| *owed > until);
        let node = waiting.node;
        self.put(priority, Waiting { node, owed_until });
    }

    fn put(&mut self, priority: Priority, waiting: Waiting) {
        let lane = self.lanes.entry(priority).or_default();
        match lane.iter_mut().find(|other| other.node == waiting.node) {
            Some(other) => other.owed_until = other.owed_until.max(waiting.owed_until),
            None => lane.push_back(waiting),
        }
    }

    /// Ends the pass.
    pub(super) fn end(self) -> Left {
        let mut left = Left {
            seen: self.seen,
            urgent: self.late,
            put_off: self.put_off,
        };
        for (priority, lane) in self.lanes {
            let nodes = lane.iter().map(|waiting| waiting.node);
            if is_urgent(priority) {
                left.urgent.extend(nodes);
            } else {
                left.put_off.extend(nodes);
            }
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u128) -> NodeId {
        NodeId::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn nodes(numbers: &[u128]) -> BTreeSet<NodeId> {
        numbers.iter().copied().map(node).collect()
    }

    /// Batches by priority and node, until a pass ends or nothing more is to be done; each is of ten entries, and
    /// `each` has its turn after every thing that is done.
    fn run(
        pass: &mut Pass,
        batches: &mut BTreeMap<(NodeId, Priority), i64>,
        mut each: impl FnMut(&mut Pass, Next),
    ) -> Vec<(Priority, NodeId)> {
        let mut done = Vec::new();
        let mut reached = BTreeMap::new();
        while let Some(next) = pass.next() {
            match next {
                Next::Survey(node, is_owed) => {
                    let all = batches.iter();
                    let lanes = all.filter(|((of, _), left)| *of == node && **left > 0);
                    let priorities: Vec<_> = lanes.map(|((_, priority), _)| *priority).collect();
                    let ends = priorities.iter().map(|lane| {
                        reached.get(&(node, *lane)).unwrap_or(&0) + 10 * batches[&(node, *lane)]
                    });
                    let newest = ends.max().unwrap_or(0);
                    pass.found(node, is_owed, &Found { priorities, newest });
                }
                Next::Step(priority, waiting) => {
                    let lane = (waiting.node, priority);
                    let left = batches.get_mut(&lane).expect("known");
                    *left -= 1;
                    let until = reached.entry(lane).or_insert(0);
                    *until += 10;
                    if *left > 0 {
                        pass.moved(priority, waiting, *until);
                    }
                    done.push((priority, waiting.node));
                    assert!(done.len() < 50, "it does not end: {done:?}");
                }
            }
            each(pass, next);
        }
        done
    }

    /// Nodes push, as far as the pass asks.
    fn arrive(pass: &mut Pass, numbers: &[u128]) {
        if pass.is_asking() {
            pass.arrived(nodes(numbers));
        }
    }

    #[test]
    fn sales_of_all_go_before_stock_of_anybody_and_nodes_take_turns() {
        use Priority::{Critical, High, Low, Normal};
        let mut batches = BTreeMap::from([
            ((node(1), Normal), 2),
            ((node(1), High), 2),
            ((node(2), Low), 1),
            ((node(2), High), 1),
            ((node(3), Critical), 1),
            ((node(3), Normal), 1),
        ]);
        let mut pass = Pass::over(nodes(&[1, 2, 3]));
        let done = run(&mut pass, &mut batches, |_, _| {});
        let lanes: Vec<_> = done.iter().map(|(priority, _)| *priority).collect();
        let before_stock = lanes.iter().position(|lane| *lane > High).expect("some");
        assert!(lanes[before_stock..].iter().all(|lane| *lane > High));
        assert_eq!(before_stock, 4);
        assert_eq!(
            done[before_stock..],
            [
                (Normal, node(1)),
                (Normal, node(3)),
                (Normal, node(1)),
                (Low, node(2)),
            ]
        );
    }

    #[test]
    fn a_late_sale_waits_for_one_batch_and_late_stock_for_the_next_pass() {
        use Priority::{High, Normal};
        let mut batches = BTreeMap::from([((node(1), Normal), 20)]);
        batches.extend([((node(2), High), 1), ((node(2), Normal), 5)]);
        let mut pass = Pass::over(nodes(&[1]));
        let done = run(&mut pass, &mut batches, |pass, next| {
            if matches!(next, Next::Step(Normal, _)) {
                arrive(pass, &[2]);
            }
        });
        assert_eq!(
            done[..3],
            [(Normal, node(1)), (High, node(2)), (Normal, node(1))]
        );
        assert_eq!(done.len(), 21);
        let left = pass.end();
        assert_eq!(left.seen, nodes(&[1, 2]));
        // It pushed once more after the last batch.
        assert_eq!((left.urgent, left.put_off), (nodes(&[2]), nodes(&[2])));
    }

    #[test]
    fn a_pass_ends_however_much_arrives_meanwhile() {
        use Priority::High;
        let mut batches = BTreeMap::from([((node(1), High), 2), ((node(2), High), i64::MAX >> 8)]);
        let mut pass = Pass::over(nodes(&[1]));
        let done = run(&mut pass, &mut batches, |pass, _| arrive(pass, &[2]));
        assert!(done.len() < 5, "{done:?}");
        assert_eq!(pass.end().urgent, nodes(&[2]));
    }

    #[test]
    fn while_others_push_at_each_look_batches_are_moved() {
        use Priority::Normal;
        let mut batches = BTreeMap::from([((node(1), Normal), 3)]);
        let mut pass = Pass::over(nodes(&[1]));
        let mut looks = 0;
        run(&mut pass, &mut batches, |pass, next| {
            looks += u32::from(matches!(next, Next::Survey(..)));
            assert!(looks < 50, "nothing is moved");
            arrive(pass, &[2, 3]);
        });
        assert_eq!(batches[&(node(1), Normal)], 0);
        assert!(looks <= 1 + 2 * 4, "{looks}");
    }

    #[test]
    fn a_pass_ends_where_a_book_ended_when_it_looked_however_much_its_till_adds() {
        use Priority::Normal;
        let mut pass = Pass::over(nodes(&[1]));
        let mut until = 0;
        while let Some(next) = pass.next() {
            match next {
                Next::Survey(node, is_owed) => {
                    let (priorities, newest) = (vec![Normal], 30);
                    pass.found(node, is_owed, &Found { priorities, newest });
                }
                Next::Step(priority, waiting) => {
                    until += 10;
                    assert!(until <= 30, "it does not end");
                    pass.moved(priority, waiting, until);
                }
            }
        }
        assert_eq!(until, 30);
        assert_eq!(pass.end().put_off, nodes(&[1]));
    }

    #[test]
    fn an_edit_has_its_turn_while_tills_sell_without_a_pause() {
        use Priority::{High, Normal};
        let mut batches = BTreeMap::from([((node(1), Normal), 2)]);
        batches.extend([((node(2), High), 1_000), ((node(3), High), 1_000)]);
        let mut pass = Pass::over(nodes(&[1]));
        let done = run(&mut pass, &mut batches, |pass, _| arrive(pass, &[2, 3]));
        let edits = done.iter().filter(|(priority, _)| *priority == Normal);
        assert_eq!(edits.count(), 2);
        assert_eq!(done.len(), 2 * URGENT_BATCHES_MAX + 2, "sales first");
    }

    #[test]
    fn between_two_publications_only_what_is_urgent_is_moved() {
        use Priority::{High, Normal};
        let mut batches = BTreeMap::from([((node(1), High), 1), ((node(1), Normal), 1)]);
        let mut pass = Pass::over_urgent(nodes(&[1]));
        let done = run(&mut pass, &mut batches, |_, _| {});
        assert_eq!(done, [(High, node(1))]);
        assert_eq!(pass.end().put_off, nodes(&[1]));
    }
}
