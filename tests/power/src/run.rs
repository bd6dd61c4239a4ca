//! Records a scenario, enumerates what a power cut could leave, and has each state judged.

use crate::crash::{Lie, Walk, digest_of};
use crate::disk::Image;
use crate::judge::{Facts, Journal, journal, judge};
use crate::recovery::Recovery;
use crate::scenario::Scenario;
use crate::tape::{Entry, Fact, Side, Tape};
use crate::world::{Images, Place, World};
use anyhow::{Context as _, ensure};
use counterfoil_testkit::SeededRandom;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// One case in this many is judged in full also when it recovers to what was judged before.
const JUDGED_ANYWAY: u64 = 512;
/// One judged state in this many loses power a second time while it recovers.
const SECOND_CUT: u64 = 4;
/// States tried at each place in the first pass: nothing of what was not synced, all of it, a beginning
/// of it, a part of it, and torn writes.
const LEAST_DRAWS: u64 = 5;
/// States tried at least in a later pass; a place where none of them is new has no more.
const MORE_DRAWS: u64 = 16;

/// A scenario that ran without a fault.
pub struct Recording {
    /// Which.
    pub scenario: Scenario,
    /// The disks before it.
    pub before: Images,
    /// All that happened.
    pub tape: Arc<Vec<Entry>>,
    /// The till's journal at the end.
    pub journal: Journal,
    /// The code by which the till joins.
    pub join: Option<String>,
    /// What was promised before the window.
    pub promised: Facts,
}

/// What came out.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub struct Tally {
    /// Places at which the power was cut.
    pub boundaries: u64,
    /// Distinct states of the disk that were opened.
    pub states: u64,
    /// The same state after more was promised, or when the other side had come further, is another case.
    pub cases: u64,
    /// Of the cases, judged in full: started, sold, synced, compared. The others recover to what was
    /// judged in full with the same promises.
    pub judged: u64,
    /// Of those, cut a second time while they recovered.
    pub second_cuts: u64,
    /// Cases that break a promise.
    pub violations: u64,
    /// The first violation of each kind, and how often the kind was met.
    pub kinds: BTreeMap<String, (u64, String)>,
}

impl Tally {
    fn violation(&mut self, text: &str) {
        self.violations += 1;
        let kind = text.split(':').next().unwrap_or(text).to_owned();
        let known = self.kinds.entry(kind).or_insert((0, text.to_owned()));
        known.0 += 1;
    }
}

/// Runs a piece of a world to its end; time passes at once when all wait.
///
/// # Errors
/// When there is no runtime.
pub fn on_one_thread<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    Ok(runtime.block_on(work))
}

/// Prepares a scenario: the disks before its window, the join code, and what was promised so far.
///
/// # Errors
/// When anything fails.
pub fn prepare(
    scenario: Scenario,
    place: &Place,
    seed: u64,
) -> anyhow::Result<(Images, Option<String>, Facts)> {
    let tape = Tape::default();
    let (mut images, join) = on_one_thread(async {
        let empty = Images::default();
        let tape = Some(tape.clone());
        let mut world = World::new(place, scenario.settings(), empty, tape, seed);
        let join = scenario.prepare(&mut world).await;
        let join = join.with_context(crate::report::told)?;
        anyhow::Ok((world.images(), join))
    })??;
    for (side, image) in [(Side::Node, &mut images.node), (Side::Hub, &mut images.hub)] {
        image
            .names
            .retain(|name, _| !scenario.lost(side, name) && !name.ends_with("-shm"));
    }
    let mut promised = Facts::of(&tape.entries());
    if scenario == Scenario::LostCopy {
        promised.forget_received();
    }
    Ok((images, join, promised))
}

/// Records a scenario.
///
/// # Errors
/// When a step of it fails.
pub fn record(scenario: Scenario, place: &Place, seed: u64) -> anyhow::Result<Recording> {
    let (before, join, promised) = prepare(scenario, place, seed)?;
    let tape = Tape::default();
    let journal = on_one_thread(async {
        let mut world = World::new(
            place,
            scenario.settings(),
            before.clone(),
            Some(tape.clone()),
            seed + 1,
        );
        let failed = scenario.live(&mut world, join.as_deref()).await;
        let told = crate::report::told;
        ensure!(
            failed == 0,
            "{failed} steps of {} failed: {}",
            scenario.name(),
            told()
        );
        journal(&world.database(Side::Node, "book.db"))
    })??;
    Ok(Recording {
        scenario,
        before,
        tape: Arc::new(tape.entries()),
        journal,
        join,
        promised,
    })
}

/// How much is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Distinct states to open.
    pub states: u64,
    /// Cases to judge; no more states are opened then, once every place was visited.
    pub judged: u64,
    /// Chooses which.
    pub seed: u64,
}

/// Cuts the power of one side at every place of a recording; at some of them, evenly, when fewer states
/// are wanted than there are places.
///
/// # Errors
/// When the test itself fails; broken promises are in the tally.
pub fn enumerate(
    recording: &Recording,
    side: Side,
    lie: Lie,
    place: &Place,
    effort: Effort,
) -> anyhow::Result<Tally> {
    let mut cutter = Cutter {
        recording,
        side,
        place,
        effort,
        tally: Tally::default(),
        from: 0,
        states: HashSet::new(),
        cases: HashSet::new(),
        recovery: Recovery::default(),
        verdicts: HashMap::new(),
    };
    let places = cutter.places();
    let count = u64::try_from(places.len())?;
    ensure!(count > 0, "nothing happened on that disk");
    let stride = (count * LEAST_DRAWS).div_ceil(effort.states).max(1);
    let first = usize::try_from(effort.seed % stride)?;
    let chosen = places.into_iter().skip(first);
    let mut fertile: BTreeSet<usize> = chosen.step_by(usize::try_from(stride)?).collect();
    cutter.tally.boundaries = u64::try_from(fertile.len())?;
    let mut until = LEAST_DRAWS;
    loop {
        cutter.pass(lie, until, &mut fertile)?;
        let states = cutter.tally.states;
        let places = u64::try_from(fertile.len())?;
        if cutter.is_enough() || places == 0 {
            return Ok(cutter.tally);
        }
        cutter.from = until;
        until += (effort.states - states)
            .div_ceil(places)
            .clamp(MORE_DRAWS, 4_096);
    }
}

struct Cutter<'r> {
    recording: &'r Recording,
    side: Side,
    place: &'r Place,
    effort: Effort,
    tally: Tally,
    /// The first draw of this pass.
    from: u64,
    states: HashSet<u128>,
    cases: HashSet<Key>,
    recovery: Recovery,
    /// Verdicts over states as they are after recovery.
    verdicts: HashMap<Key, Option<String>>,
}

/// What a verdict depends on: the disk, how much had been said, and how far the other side's disk had
/// come.
type Key = (u128, usize, usize);

impl Cutter<'_> {
    /// Where the power can go: before each operation of the side, and at the end. All that is said before
    /// the disk changes again holds for this state of it.
    fn places(&self) -> Vec<usize> {
        let tape = &self.recording.tape;
        let begin = Entry::Said(Fact::Begin);
        let begun = tape.iter().position(|entry| *entry == begin);
        (begun.map_or(tape.len(), |at| at + 1)..=tape.len())
            .filter(|at| tape.get(*at).is_none_or(|next| self.is_own(next)))
            .collect()
    }

    /// Tries a range of draws at every place that may have more, and forgets places that have none.
    fn pass(&mut self, lie: Lie, until: u64, fertile: &mut BTreeSet<usize>) -> anyhow::Result<()> {
        let draws = self.from..until;
        let tape = Arc::clone(&self.recording.tape);
        let image = self.of_side(&self.recording.before).clone();
        let mut walk = Walk::new(Arc::clone(&tape), self.side, image, lie);
        let mut other = self.recording.before.clone();
        while walk.step().is_some() {
            let at = walk.taken();
            match &tape[at - 1] {
                Entry::Disk(Side::Node, op) => other.node.apply(op),
                Entry::Disk(Side::Hub, op) => other.hub.apply(op),
                Entry::Said(_) => {}
            }
            if !fertile.contains(&at) {
                continue;
            }
            let new = self.cut(&mut walk, draws.clone(), &other)?;
            if walk.pending() == 0 || new == 0 && draws.end - draws.start >= MORE_DRAWS {
                fertile.remove(&at);
            }
            if self.is_enough() {
                break;
            }
        }
        Ok(())
    }

    fn is_enough(&self) -> bool {
        let is_visited = self.from > 0;
        self.tally.states >= self.effort.states
            || is_visited && self.tally.judged >= self.effort.judged
    }

    fn is_own(&self, entry: &Entry) -> bool {
        matches!(entry, Entry::Disk(side, _) if *side == self.side)
    }

    fn of_side<'i>(&self, images: &'i Images) -> &'i Image {
        match self.side {
            Side::Node => &images.node,
            Side::Hub => &images.hub,
        }
    }

    /// Cuts the power at one place.
    fn cut(
        &mut self,
        walk: &mut Walk,
        draws: std::ops::Range<u64>,
        other: &Images,
    ) -> anyhow::Result<u64> {
        let mut found = 0;
        let mut facts = None;
        let past = &self.recording.tape[..walk.taken()];
        let said = past.iter().filter(|entry| matches!(entry, Entry::Said(_)));
        let own = past.iter().filter(|entry| self.is_own(entry));
        let (said, own) = (said.count(), own.count());
        let others = past.len() - said - own;
        for draw in draws {
            if walk.pending() == 0 && draw > 0 {
                break;
            }
            let at = u64::try_from(walk.taken())?;
            let seed = self.effort.seed ^ at.wrapping_mul(0xD134_2543_DE82_EF95);
            let mut image = walk.outcome(draw, seed);
            image.names.retain(|name, _| !name.ends_with("-shm"));
            let digests = walk.digests(&image);
            let state = digest_of(&digests, |_| true);
            if !self.cases.insert((state, said, others)) {
                continue;
            }
            self.tally.cases += 1;
            if self.states.insert(state) {
                found += 1;
                self.tally.states += 1;
            }
            let facts = facts.get_or_insert_with(|| {
                let mut facts = self.recording.promised.clone();
                facts.add(&self.recording.tape[..walk.taken()]);
                facts
            });
            let anyway = self.tally.cases.is_multiple_of(JUDGED_ANYWAY);
            let recovery = &mut self.recovery;
            let counts = recovery.of(self.place, self.side, &image, &digests, self.effort.seed);
            let key = counts.map(|counts| (counts, said, others));
            let known = key.and_then(|key| self.verdicts.get(&key));
            if let Some(verdict) = known.cloned()
                && !anyway
            {
                if let Some(text) = verdict {
                    self.tally.violation(&text);
                }
                continue;
            }
            let images = match self.side {
                Side::Node => Images {
                    node: image,
                    hub: other.hub.clone(),
                },
                Side::Hub => Images {
                    node: other.node.clone(),
                    hub: image,
                },
            };
            let facts = facts.clone();
            let verdict = self.judge_fully(&images, &facts, walk.taken(), draw)?;
            if let Some(text) = &verdict {
                self.tally.violation(text);
            }
            if let Some(key) = key {
                self.verdicts.insert(key, verdict);
            }
            if self.is_enough() {
                break;
            }
        }
        Ok(found)
    }

    /// The broken promise, if any.
    fn judge_fully(
        &mut self,
        images: &Images,
        facts: &Facts,
        at: usize,
        draw: u64,
    ) -> anyhow::Result<Option<String>> {
        self.tally.judged += 1;
        let seed = self.effort.seed ^ self.tally.judged;
        if let Err(text) = self.judged(images.clone(), facts, seed, None)? {
            return Ok(Some(format!("{text} (at {at}, draw {draw})")));
        }
        if !self.tally.judged.is_multiple_of(SECOND_CUT) {
            return Ok(None);
        }
        self.tally.second_cuts += 1;
        let tape = Tape::default();
        // It was judged above: now it runs only to be cut off.
        let _first = self.judged(images.clone(), facts, seed, Some(tape.clone()))?;
        let (left, facts) = self.cut_again(images, facts, &tape.entries(), seed)?;
        let again = self.judged(left, &facts, seed + 1, None)?;
        Ok(again
            .err()
            .map(|text| format!("{text} (at {at}, draw {draw}, second cut)")))
    }

    /// What a second cut leaves, somewhere in the recovery from the first.
    fn cut_again(
        &self,
        images: &Images,
        facts: &Facts,
        tape: &[Entry],
        seed: u64,
    ) -> anyhow::Result<(Images, Facts)> {
        let luck = SeededRandom::new(seed);
        let until = usize::try_from(luck.below(u64::try_from(tape.len())? + 1))?;
        let tape = Arc::new(tape[..until].to_vec());
        let image = self.of_side(images).clone();
        let mut walk = Walk::new(Arc::clone(&tape), self.side, image, Lie::None);
        let mut left = images.clone();
        while walk.step().is_some() {
            match &tape[walk.taken() - 1] {
                Entry::Disk(Side::Node, op) => left.node.apply(op),
                Entry::Disk(Side::Hub, op) => left.hub.apply(op),
                Entry::Said(_) => {}
            }
        }
        let mut image = walk.outcome(luck.below(16), seed);
        image.names.retain(|name, _| !name.ends_with("-shm"));
        match self.side {
            Side::Node => left.node = image,
            Side::Hub => left.hub = image,
        }
        let mut facts = facts.clone();
        facts.go_on();
        facts.add(&tape);
        Ok((left, facts))
    }

    /// The inner error is the broken promise.
    fn judged(
        &self,
        images: Images,
        facts: &Facts,
        seed: u64,
        tape: Option<Tape>,
    ) -> anyhow::Result<Result<(), String>> {
        let recording = self.recording;
        // With a second life after it, what it writes is not what the recording wrote.
        let expected = (!facts.has_gone_on()).then_some(&recording.journal);
        let settings = recording.scenario.settings();
        let verdict = catch_unwind(AssertUnwindSafe(|| {
            on_one_thread(async {
                let mut world = World::new(self.place, settings, images, tape, seed);
                judge(&mut world, facts, expected, recording.join.as_deref()).await
            })
        }));
        match verdict {
            Ok(verdict) => Ok(verdict
                .context("no runtime")?
                .map_err(|error| format!("{error:#}"))),
            Err(panic) => Ok(Err(format!("PANIC: {}", text_of(&*panic)))),
        }
    }
}

pub(crate) fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "no text".to_owned())
}
