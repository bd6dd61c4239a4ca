//! What does a pass do next? Decides, and knows no database.
//!
//! The most urgent first, over all nodes (T4), and nodes of one priority in turns, a batch each. Whoever
//! pushes while a pass runs is looked at before the next batch: what is urgent there goes ahead of what the
//! pass has still to do, the rest waits for the next pass. So a sale waits for one batch, and a pass ends
//! however much arrives meanwhile.

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
    /// Every node that was looked at.
    seen: BTreeSet<NodeId>,
    /// Nodes with something for the next pass.
    put_off: BTreeSet<NodeId>,
}

/// A node's entries of one priority.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Waiting {
    pub(super) node: NodeId,
    /// Whether the pass began with it; it does not end before.
    pub(super) is_owed: bool,
}

/// One thing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Look which priorities of a node wait.
    Survey(Waiting),
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

    /// Takes note of nodes that pushed meanwhile.
    pub(super) fn arrived(&mut self, nodes: BTreeSet<NodeId>) {
        self.late.extend(nodes);
    }

    /// What comes next; nothing when all that the pass began with is done.
    pub(super) fn next(&mut self) -> Option<Next> {
        if !self.is_owing() {
            return None;
        }
        let survey = |node, is_owed| Some(Next::Survey(Waiting { node, is_owed }));
        if let Some(node) = self.late.pop_first() {
            let is_owed = self.unseen.remove(&node);
            return survey(node, is_owed);
        }
        // Before anything that can wait is moved, everybody was asked for what cannot.
        if let Some(step) = self.step(is_urgent) {
            return Some(step);
        }
        if let Some(node) = self.unseen.pop_first() {
            return survey(node, true);
        }
        self.step(|_| true)
    }

    fn is_owing(&self) -> bool {
        let mut waiting = self.lanes.values().flatten();
        !self.unseen.is_empty() || waiting.any(|waiting| waiting.is_owed)
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

    /// A node was looked at; these priorities wait there.
    pub(super) fn found(&mut self, waiting: Waiting, priorities: Vec<Priority>) {
        self.seen.insert(waiting.node);
        for priority in priorities {
            let may_come = waiting.is_owed && !self.only_urgent || is_urgent(priority);
            if may_come {
                self.put(priority, waiting);
            } else {
                self.put_off.insert(waiting.node);
            }
        }
    }

    /// A batch was moved and more of the kind waits: the node takes its turn again.
    pub(super) fn put(&mut self, priority: Priority, waiting: Waiting) {
        let lane = self.lanes.entry(priority).or_default();
        match lane.iter_mut().find(|other| other.node == waiting.node) {
            Some(other) => other.is_owed |= waiting.is_owed,
            None => lane.push_back(waiting),
        }
    }

    /// Ends the pass: the nodes that were looked at, and those with something for the next one.
    pub(super) fn end(mut self) -> (BTreeSet<NodeId>, BTreeSet<NodeId>) {
        self.put_off.extend(self.late);
        let left = self.lanes.values().flatten().map(|waiting| waiting.node);
        self.put_off.extend(left);
        (self.seen, self.put_off)
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

    /// Batches by priority and node, until a pass ends or nothing more is to be done.
    fn run(
        pass: &mut Pass,
        batches: &mut BTreeMap<(NodeId, Priority), u32>,
        mut each: impl FnMut(&mut Pass, Priority, NodeId),
    ) -> Vec<(Priority, NodeId)> {
        let mut done = Vec::new();
        while let Some(next) = pass.next() {
            match next {
                Next::Survey(waiting) => {
                    let all = batches.iter();
                    let lanes = all.filter(|((node, _), left)| *node == waiting.node && **left > 0);
                    let lanes = lanes.map(|((_, priority), _)| *priority).collect();
                    pass.found(waiting, lanes);
                }
                Next::Step(priority, waiting) => {
                    let left = batches.get_mut(&(waiting.node, priority)).expect("known");
                    *left -= 1;
                    if *left > 0 {
                        pass.put(priority, waiting);
                    }
                    done.push((priority, waiting.node));
                    each(pass, priority, waiting.node);
                }
            }
        }
        done
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
        let done = run(&mut pass, &mut batches, |_, _, _| {});
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
        let done = run(&mut pass, &mut batches, |pass, priority, _| {
            if priority == Normal {
                pass.arrived(nodes(&[2]));
            }
        });
        assert_eq!(
            done[..3],
            [(Normal, node(1)), (High, node(2)), (Normal, node(1))]
        );
        assert_eq!(done.len(), 21);
        assert_eq!(pass.end(), (nodes(&[1, 2]), nodes(&[2])));
    }

    #[test]
    fn a_pass_ends_however_much_arrives_meanwhile() {
        use Priority::High;
        let mut batches = BTreeMap::from([((node(1), High), 2), ((node(2), High), u32::MAX)]);
        let mut pass = Pass::over(nodes(&[1]));
        let done = run(&mut pass, &mut batches, |pass, _, _| {
            pass.arrived(nodes(&[2]));
        });
        assert!(done.len() < 5, "{done:?}");
        assert_eq!(pass.end().1, nodes(&[2]));
    }

    #[test]
    fn between_two_publications_only_what_is_urgent_is_moved() {
        use Priority::{High, Normal};
        let mut batches = BTreeMap::from([((node(1), High), 1), ((node(1), Normal), 1)]);
        let mut pass = Pass::over_urgent(nodes(&[1]));
        let done = run(&mut pass, &mut batches, |_, _, _| {});
        assert_eq!(done, [(High, node(1))]);
        assert_eq!(pass.end().1, nodes(&[1]));
    }
}
