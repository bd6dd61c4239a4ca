//! The faults of a run: crashes, cuts and stalls, drawn from the seed, aimed where work is under way.

use crate::environment::Machine;
use crate::events::Events;
use crate::files::Image;
use crate::plan::{NODES, Plan};
use crate::record::SharedBoard;
use crate::wire::{Line, Stage};
use counterfoil_testkit::SeededRandom;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use turmoil::Sim;

/// Name of the hub's host.
pub(crate) const HUB: &str = "hub";
/// Names of the nodes' hosts.
pub(crate) const NODE: [&str; NODES] = ["node1", "node2", "node3"];
/// Names of the tills' hosts.
pub(crate) const TILL: [&str; NODES] = ["till1", "till2", "till3"];

/// Steps during which a person waits for the node's answer lose the node once in this many.
const DOUBT_EVERY: u64 = 160;
/// Steps during which a request waits for its answer are hit by a fault once in this many.
const AIMED_EVERY: u64 = 45;

/// A program that can be crashed.
pub(crate) struct Victim {
    pub(crate) host: &'static str,
    pub(crate) data: PathBuf,
    pub(crate) machine: Machine,
    /// Step at which it is started again.
    down_until: Option<u64>,
}

impl Victim {
    pub(crate) fn new(host: &'static str, data: PathBuf, machine: Machine) -> Self {
        Self {
            host,
            data,
            machine,
            down_until: None,
        }
    }
}

/// A link that is not well.
struct Broken {
    ends: (&'static str, &'static str),
    until: u64,
}

/// Injects the faults of one run.
pub(crate) struct Chaos {
    plan: Plan,
    luck: SeededRandom,
    board: SharedBoard,
    events: Events,
    /// The hub first, then the nodes.
    pub(crate) victims: Vec<Victim>,
    /// The tills' lines to their nodes.
    tills: Vec<Arc<Line>>,
    broken: Vec<Broken>,
    /// The hub's folder, a while ago.
    backup: Option<Image>,
    step: u64,
}

impl Chaos {
    pub(crate) fn new(
        plan: Plan,
        board: SharedBoard,
        events: Events,
        victims: Vec<Victim>,
        tills: Vec<Arc<Line>>,
    ) -> Self {
        let luck = SeededRandom::new(plan.seed ^ 0x0063_6861_6f73);
        Self {
            plan,
            luck,
            board,
            events,
            victims,
            tills,
            broken: Vec::new(),
            backup: None,
            step: 0,
        }
    }

    /// Lets a step's faults happen.
    pub(crate) fn strike(&mut self, sim: &mut Sim<'_>) -> io::Result<()> {
        self.step += 1;
        self.finish_the_doomed(sim)?;
        self.recover(sim);
        self.back_up()?;
        if self.luck.below(self.plan.fault_every) == 0 {
            self.random_fault(sim)?;
        }
        for node in 0..NODES {
            let stage = self.stage(node);
            if stage > Stage::Other && self.luck.below(AIMED_EVERY) == 0 {
                self.aimed_fault(sim, node)?;
            }
            if self.tills[node].stage() != Stage::Idle && self.luck.below(DOUBT_EVERY) == 0 {
                self.crash(sim, node + 1)?;
            }
        }
        Ok(())
    }

    /// Starts everything and mends every link.
    pub(crate) fn heal(&mut self, sim: &mut Sim<'_>) -> io::Result<()> {
        self.arm(false);
        self.finish_the_doomed(sim)?;
        self.step = u64::MAX;
        self.recover(sim);
        for node in NODE {
            sim.release(HUB, node);
        }
        for (till, node) in TILL.into_iter().zip(NODE) {
            sim.release(till, node);
        }
        sim.release(HUB, "office");
        self.events.note("everything is healed");
        Ok(())
    }

    /// Whether machines may go dark at an operation on a file.
    pub(crate) fn arm(&self, armed: bool) {
        for disk in self
            .victims
            .iter()
            .filter_map(|victim| victim.machine.disk.as_ref())
        {
            disk.arm(armed);
        }
    }

    /// Crashes the machines that went dark during the last step.
    fn finish_the_doomed(&mut self, sim: &mut Sim<'_>) -> io::Result<()> {
        for index in 0..self.victims.len() {
            let disk = self.victims[index].machine.disk.as_ref();
            let Some(image) = disk.and_then(|disk| disk.take_doom()) else {
                continue;
            };
            let pause = self.luck.below(5) * self.luck.below(300) + 1;
            self.board.saw("power cut at a file operation");
            self.note_crash(index);
            let victim = &mut self.victims[index];
            victim.down_until = Some(self.step + pause);
            self.events
                .note(&format!("{} went dark at a file operation", victim.host));
            sim.crash(victim.host);
            image.put_back()?;
            self.lose_what_is_on_its_way(sim, index);
        }
        Ok(())
    }

    fn stage(&self, node: usize) -> Stage {
        self.victims[node + 1].machine.line.stage()
    }

    fn recover(&mut self, sim: &mut Sim<'_>) {
        for index in 0..self.victims.len() {
            if self.victims[index]
                .down_until
                .is_some_and(|until| until <= self.step)
            {
                self.start(sim, index);
            }
        }
        let step = self.step;
        let (mended, broken) = std::mem::take(&mut self.broken)
            .into_iter()
            .partition::<Vec<_>, _>(|link| link.until <= step);
        self.broken = broken;
        for link in mended {
            self.events
                .note(&format!("link {}-{} is mended", link.ends.0, link.ends.1));
            sim.release(link.ends.0, link.ends.1);
        }
    }

    fn start(&mut self, sim: &mut Sim<'_>, index: usize) {
        let jump = self.plan.clock_jumps.then(|| self.luck.below(7_200_000));
        let victim = &mut self.victims[index];
        victim.down_until = None;
        if let (Some(jump), Some(node)) = (jump, index.checked_sub(1)) {
            // A dead battery: the clock comes back up to an hour off, also backwards.
            let jump = i64::try_from(jump).unwrap_or_default() - 3_600_000;
            victim
                .machine
                .clock
                .set_skew(self.plan.skew_ms[node] + jump);
            self.board.saw("clock jumped at a start");
        }
        self.events.note(&format!("{} starts", victim.host));
        sim.bounce(victim.host);
    }

    fn random_fault(&mut self, sim: &mut Sim<'_>) -> io::Result<()> {
        let node = usize::try_from(self.luck.below(NODES as u64)).unwrap_or_default();
        match self.luck.below(6) {
            0 => self.crash(sim, 0),
            1 | 2 => self.crash(sim, node + 1),
            3 => {
                self.cut(sim, (TILL[node], NODE[node]));
                Ok(())
            }
            _ => {
                self.cut(sim, (HUB, NODE[node]));
                Ok(())
            }
        }
    }

    fn aimed_fault(&mut self, sim: &mut Sim<'_>, node: usize) -> io::Result<()> {
        match self.luck.below(3) {
            0 => self.crash(sim, 0),
            1 => self.crash(sim, node + 1),
            _ => {
                self.cut(sim, (HUB, NODE[node]));
                Ok(())
            }
        }
    }

    fn crash(&mut self, sim: &mut Sim<'_>, index: usize) -> io::Result<()> {
        let pause = self.luck.below(5) * self.luck.below(300) + 1;
        let power_cut = self.luck.below(2) == 0;
        if !self.plan.crashes || self.victims[index].down_until.is_some() {
            return Ok(());
        }
        self.note_crash(index);
        let victim = &mut self.victims[index];
        victim.down_until = Some(self.step + pause);
        self.events.note(&format!("{} is killed", victim.host));
        let mut image = Image::take(&victim.data)?;
        sim.crash(victim.host);
        self.lose_a_database(&mut image, index);
        if index == 0 {
            self.restore(&mut image);
        }
        image.put_back()?;
        if power_cut {
            self.lose_what_is_on_its_way(sim, index);
        }
        Ok(())
    }

    /// Makes a backup of the hub now and then, once it knows all nodes: one that a hub forgot needs a
    /// new join code, which is an operator's work.
    fn back_up(&mut self) -> io::Result<()> {
        let all = self.board.active.borrow().iter().all(|active| *active);
        if all && self.luck.below(250) == 0 {
            self.backup = Some(Image::take(&self.victims[0].data)?);
            self.events.note("a backup of the hub is made");
        }
        Ok(())
    }

    /// The hub's disk is gone; what comes back is the backup.
    fn restore(&mut self, image: &mut Image) {
        if self.luck.below(2) == 0
            && self.plan.restores
            && let Some(backup) = self.backup.take()
        {
            *image = backup;
            self.events.note("the hub is restored from its backup");
            self.board.saw("hub restored from a backup");
        }
    }

    /// A file that was damaged and thrown away: the hub's copy of a book, or what a node can have
    /// again. The book itself and the hub's tables are what must not be lost.
    fn lose_a_database(&self, image: &mut Image, index: usize) {
        if !self.plan.losses || self.luck.below(6) > 0 {
            return;
        }
        let folder = &self.victims[index].data;
        let (lost, what) = if index == 0 {
            let books = image.databases_below(&folder.join("books"));
            let pick = self.luck.below(books.len().max(1) as u64);
            let pick = usize::try_from(pick).unwrap_or_default();
            (books.get(pick).cloned(), "hub lost its copy of a book")
        } else if self.luck.below(2) == 0 {
            (Some(folder.join("catalog.db")), "node lost its catalog")
        } else {
            (Some(folder.join("local.db")), "node lost its local state")
        };
        if let Some(lost) = lost
            && image.lose(&lost)
        {
            self.events.note(&format!("{} is lost", lost.display()));
            self.board.saw(what);
        }
    }

    /// What a machine without power had sent or was about to get is gone, and nobody is told. A
    /// killed program's last words arrive.
    fn lose_what_is_on_its_way(&self, sim: &Sim<'_>, index: usize) {
        self.board.saw("power cut");
        let links: Vec<(&'static str, &'static str)> = match index.checked_sub(1) {
            None => NODE.into_iter().map(|node| (HUB, node)).collect(),
            Some(node) => vec![(HUB, NODE[node]), (TILL[node], NODE[node])],
        };
        if index == 0 {
            sim.partition(HUB, "office");
            sim.release(HUB, "office");
        }
        for ends in links {
            if self.broken.iter().all(|link| link.ends != ends) {
                sim.partition(ends.0, ends.1);
                sim.release(ends.0, ends.1);
            }
        }
    }

    fn note_crash(&self, index: usize) {
        let stages: Vec<Stage> = match index.checked_sub(1) {
            None => (0..NODES).map(|node| self.stage(node)).collect(),
            Some(node) => {
                let (asked, active) = (self.board.activating.borrow(), self.board.active.borrow());
                if asked[node] && !active[node] {
                    self.board.saw("node killed before its activation was seen");
                }
                vec![self.stage(node)]
            }
        };
        let hub = index == 0;
        self.board
            .saw(if hub { "hub killed" } else { "node killed" });
        for stage in stages {
            let what = match (stage, hub) {
                (Stage::Activate, true) => "hub killed during activation",
                (Stage::Activate, false) => "node killed during activation",
                (Stage::Push, true) => "hub killed during push",
                (Stage::Push, false) => "node killed during push",
                (Stage::Pull, true) => "hub killed during pull",
                (Stage::Pull, false) => "node killed during pull",
                (Stage::Idle | Stage::Other, _) => continue,
            };
            self.board.saw(what);
        }
    }

    fn cut(&mut self, sim: &Sim<'_>, ends: (&'static str, &'static str)) {
        let (kind, duration) = (self.luck.below(8), self.luck.below(900) + 10);
        if !self.plan.cuts || self.broken.iter().any(|link| link.ends == ends) {
            return;
        }
        // TCP sends again what a short cut swallowed, so what is under way is late but arrives. A
        // lost NAT entry or a new address swallows it for good, and nobody is told.
        let way = match kind {
            0 => {
                sim.partition_oneway(ends.0, ends.1);
                "swallows one way"
            }
            1 | 2 => {
                sim.partition(ends.0, ends.1);
                "swallows everything"
            }
            _ => {
                sim.hold(ends.0, ends.1);
                "is cut"
            }
        };
        self.events
            .note(&format!("link {}-{} {way}", ends.0, ends.1));
        self.broken.push(Broken {
            ends,
            until: self.step + duration,
        });
        self.board.saw(if ends.0 == HUB {
            "link to the hub cut"
        } else {
            "link to a till cut"
        });
        if let Some(node) = NODE.iter().position(|name| *name == ends.1)
            && ends.0 == HUB
        {
            match self.stage(node) {
                Stage::Push => self.board.saw("link cut during push"),
                Stage::Pull => self.board.saw("link cut during pull"),
                Stage::Activate => self.board.saw("link cut during activation"),
                Stage::Idle | Stage::Other => {}
            }
        }
    }
}
