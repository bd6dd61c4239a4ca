//! Lanes in memory, and the lines between them, which may break at any moment.

use crate::document::Topic;
use crate::hlc::Hlc;
use crate::ids::{DocumentId, NodeId};
use crate::lineage::Point;
use crate::mesh::conversation::{Conversation, Next, Window};
use crate::mesh::sources::{Offer, Step, plan};
use crate::mesh::{Holding, LaneEntry, Place};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use uuid::Uuid;

pub(super) const WINDOW: Window = Window {
    messages: 3,
    bytes: 1 << 20,
};

pub(super) fn node(number: usize) -> NodeId {
    NodeId::from_uuid(Uuid::from_u128(number as u128 + 1))
}

pub(super) fn entry(origin: NodeId, before: Point, document: &str) -> LaneEntry {
    let seq = before.seq + 1;
    let id = origin.uuid().as_u128() << 64 | u128::try_from(seq).expect("small");
    let id = DocumentId::from_uuid(Uuid::from_u128(id));
    let (hlc, kind) = (Hlc::at_millis(seq), Topic::Sale.code());
    let chain = before.chain.link((seq, id, hlc, kind), document.as_bytes());
    LaneEntry {
        origin,
        seq,
        id,
        hlc,
        kind,
        before: before.chain,
        chain,
        document: document.to_owned(),
    }
}

/// What goes over a line.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Entry(LaneEntry),
    Ack(DocumentId),
    Want(NodeId, i64),
    Stop(NodeId),
    Have(NodeId, Holding),
}

/// A lane as the daemon is one, in memory: what is stored here is durable.
pub(super) struct Lane {
    pub(super) me: NodeId,
    pub(super) journals: BTreeMap<NodeId, Vec<LaneEntry>>,
    pub(super) conversations: BTreeMap<NodeId, Conversation>,
    /// How far each peer said it has this lane's own journal.
    pub(super) marks: BTreeMap<NodeId, i64>,
}

impl Lane {
    pub(super) fn new(number: usize) -> Self {
        let me = node(number);
        Self {
            me,
            journals: BTreeMap::from([(me, Vec::new())]),
            conversations: BTreeMap::new(),
            marks: BTreeMap::new(),
        }
    }

    pub(super) fn holdings(&self) -> BTreeMap<NodeId, Holding> {
        let held = |entries: &Vec<LaneEntry>| Holding {
            begin: Point::START,
            end: entries.last().map_or(Point::START, LaneEntry::point),
        };
        self.journals
            .iter()
            .map(|(origin, entries)| (*origin, held(entries)))
            .collect()
    }

    pub(super) fn sell(&mut self) {
        let own = self.journals.get_mut(&self.me).expect("its own");
        let before = own.last().map_or(Point::START, LaneEntry::point);
        own.push(entry(self.me, before, "tea"));
        for conversation in self.conversations.values_mut() {
            conversation.grown(self.me);
        }
    }

    pub(super) fn replan(&mut self) {
        let offer = |conversation: &Conversation| Offer {
            holds: conversation.holds().clone(),
            asked: conversation.asked().clone(),
        };
        let offers: BTreeMap<NodeId, Offer> = self
            .conversations
            .iter()
            .map(|(peer, conversation)| (*peer, offer(conversation)))
            .collect();
        for step in plan(self.me, &self.holdings(), &offers) {
            match step {
                Step::Ask {
                    peer,
                    origin,
                    after,
                } => self.with(peer).ask(origin, after),
                Step::Stop { peer, origin } => self.with(peer).stop(origin),
            }
        }
    }

    pub(super) fn with(&mut self, peer: NodeId) -> &mut Conversation {
        self.conversations.get_mut(&peer).expect("connected")
    }

    pub(super) fn hear(&mut self, peer: NodeId, said: Said) {
        match said {
            Said::Entry(entry) => {
                let conversation = self.with(peer);
                conversation.came(&entry);
                if !conversation.asked().contains(&entry.origin) {
                    return;
                }
                self.store(peer, &entry);
            }
            Said::Ack(id) => {
                if let Some((origin, point)) = self.with(peer).acked(id, Duration::ZERO)
                    && origin == self.me
                {
                    let mark = self.marks.entry(peer).or_default();
                    *mark = point.seq.max(*mark);
                }
            }
            Said::Want(origin, after) => self.with(peer).wanted(origin, after),
            Said::Stop(origin) => self.with(peer).unwanted(origin),
            Said::Have(origin, holding) => self.with(peer).told(origin, holding),
        }
        self.replan();
    }

    pub(super) fn store(&mut self, peer: NodeId, entry: &LaneEntry) {
        assert!(entry.is_whole());
        let origin = entry.origin;
        let held = self.holdings().get(&origin).copied();
        let held = held.unwrap_or(Holding::empty(Point::START));
        match held.place(entry) {
            Place::Known => {}
            Place::Next => self.journals.entry(origin).or_default().push(entry.clone()),
            // It was on its way when this lane asked for less, and then again for more.
            Place::Ahead => {
                let after = held.end.seq;
                let is_asked = self.with(peer).ask_again(origin, after);
                assert!(is_asked, "{entry:?} behind {held:?}, again and again");
                return;
            }
            Place::Forked => panic!("{entry:?} behind {held:?}"),
        }
        self.with(peer).stored(origin, entry.id);
        let holding = self.holdings()[&origin];
        for conversation in self.conversations.values_mut() {
            conversation.news(origin, holding);
        }
    }

    /// Everything that there is to say to a peer now.
    pub(super) fn say(&mut self, peer: NodeId) -> Vec<Said> {
        let mut said = Vec::new();
        while let Some(next) = self.with(peer).say() {
            match next {
                Next::Ack(id) => said.push(Said::Ack(id)),
                Next::Want { origin, after } => said.push(Said::Want(origin, after)),
                Next::Stop(origin) => said.push(Said::Stop(origin)),
                Next::Have(origin, holding) => said.push(Said::Have(origin, holding)),
                Next::Gone(origin) => panic!("{origin} can be read"),
                Next::Read {
                    origin,
                    after,
                    room,
                } => {
                    let held = self.journals.get(&origin).cloned().unwrap_or_default();
                    let behind = held.into_iter().filter(|entry| entry.seq > after);
                    let read = behind.take(room.messages).collect();
                    let sent = self.with(peer).sent((origin, after), read, Duration::ZERO);
                    said.extend(sent.into_iter().map(Said::Entry));
                }
            }
        }
        said
    }
}

/// Lanes and the lines between them; each line delivers in order until it breaks.
pub(super) struct World {
    pub(super) lanes: Vec<Lane>,
    pub(super) lines: BTreeMap<(usize, usize), VecDeque<Said>>,
    /// What was put on each line and not asked for again.
    carried: BTreeMap<(usize, usize), BTreeSet<(NodeId, i64)>>,
}

impl World {
    pub(super) fn new(count: usize) -> Self {
        Self {
            lanes: (0..count).map(Lane::new).collect(),
            lines: BTreeMap::new(),
            carried: BTreeMap::new(),
        }
    }

    pub(super) fn connect(&mut self, one: usize, other: usize) {
        if one == other || self.lines.contains_key(&(one, other)) {
            return;
        }
        for (from, to) in [(one, other), (other, one)] {
            let holds = self.lanes[to].holdings();
            let lane = &mut self.lanes[from];
            let told = holds.get(&lane.me).map_or(0, |held| held.end.seq);
            lane.marks.insert(node(to), told);
            let conversation = Conversation::new((node(from), node(to)), holds, WINDOW);
            lane.conversations.insert(node(to), conversation);
            lane.replan();
            self.lines.insert((from, to), VecDeque::new());
            self.carried.insert((from, to), BTreeSet::new());
        }
    }

    /// What was on its way is lost.
    pub(super) fn cut(&mut self, one: usize, other: usize) {
        for (from, to) in [(one, other), (other, one)] {
            if self.lines.remove(&(from, to)).is_some() {
                self.lanes[from].conversations.remove(&node(to));
                self.lanes[from].replan();
            }
        }
    }

    /// Lets a lane speak, and its peer hear one thing. No entry goes over a line twice, unless it is asked for again.
    pub(super) fn step(&mut self, from: usize, to: usize) -> bool {
        let Some(line) = self.lines.get_mut(&(from, to)) else {
            return false;
        };
        let spoken = self.lanes[from].say(node(to));
        let carried = self.carried.entry((from, to)).or_default();
        for said in &spoken {
            if let Said::Entry(entry) = said {
                let is_new = carried.insert((entry.origin, entry.seq));
                assert!(is_new, "twice on one line: {entry:?}");
            }
        }
        line.extend(spoken);
        let Some(said) = line.pop_front() else {
            return false;
        };
        if let Said::Want(origin, after) = &said {
            let back = self.carried.entry((to, from)).or_default();
            back.retain(|(of, seq)| of != origin || seq <= after);
        }
        self.lanes[to].hear(node(from), said);
        true
    }

    /// Until nobody has anything to say; how many things were said.
    pub(super) fn settle(&mut self) -> usize {
        let mut steps = 0;
        loop {
            let before = steps;
            let lines: Vec<(usize, usize)> = self.lines.keys().copied().collect();
            for (from, to) in lines {
                steps += usize::from(self.step(from, to));
            }
            if steps == before {
                return steps;
            }
            assert!(steps < 100_000, "they never fall silent");
        }
    }

    /// Nobody believes of a peer what is not durable there.
    pub(super) fn assert_marks(&self) {
        for lane in &self.lanes {
            for (peer, mark) in &lane.marks {
                let peer = self.lanes.iter().find(|it| it.me == *peer).expect("a lane");
                let held = peer.holdings().get(&lane.me).map_or(0, |it| it.end.seq);
                assert!(*mark <= held, "{mark} of {held}");
            }
        }
    }

    pub(super) fn assert_same(&self) {
        let whole = self.lanes[0].holdings();
        for lane in &self.lanes {
            assert_eq!(lane.holdings(), whole);
            assert_eq!(lane.journals.len(), self.lanes.len());
        }
    }
}
