//! Every call to a disk fails once: an I/O error, no space, half of a write.
//!
//! The programs go on as well as they can. Then they are killed, or the power is cut as well, and
//! what is left is judged like everything else.

use crate::crash::{Lie, Walk};
use crate::disk::{Failure, Image};
use crate::judge::judge;
use crate::run::{on_one_thread, prepare, text_of};
use crate::scenario::Scenario;
use crate::tape::{Entry, Side, Tape};
use crate::world::{Images, Place, World};
use serde::{Deserialize, Serialize};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What came out.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub struct Sweep {
    /// Calls that failed, one in each run.
    pub faults: u64,
    /// Runs in which a step was refused because of it.
    pub refused: u64,
    /// Runs in which a program stopped itself.
    pub stopped: u64,
    /// Runs after which a promise was broken.
    pub violations: u64,
    /// The first ones.
    pub first: Vec<String>,
}

/// Violations that are told in words.
const TOLD_MAX: usize = 10;

/// Lets every `stride`-th call of a side fail, one in each run.
///
/// # Errors
/// When the test itself fails; broken promises are in the sweep.
pub fn sweep(
    scenario: Scenario,
    side: Side,
    failure: Failure,
    place: &Place,
    seed: u64,
    stride: u64,
) -> anyhow::Result<Sweep> {
    let (before, join, promised) = prepare(scenario, place, seed)?;
    let mut sweep = Sweep::default();
    let mut nth = 1 + seed % stride;
    loop {
        let tape = Tape::default();
        let lived = live(
            scenario,
            side,
            (nth, failure),
            place,
            seed,
            &before,
            &tape,
            join.as_deref(),
        )?;
        if !lived.reached {
            return Ok(sweep);
        }
        sweep.faults += 1;
        sweep.refused += u64::from(lived.refused);
        sweep.stopped += u64::from(lived.stopped);
        let mut facts = promised.clone();
        facts.go_on();
        facts.add(&tape.entries());
        let killed = lived.left;
        let cut = with_power_cut(&before, &killed, side, &tape);
        for (how, left) in [("killed", killed), ("power cut", cut)] {
            let verdict = catch_unwind(AssertUnwindSafe(|| {
                on_one_thread(async {
                    let mut world = World::new(place, scenario.settings(), left, None, seed + nth);
                    judge(&mut world, &facts, None, join.as_deref()).await
                })
            }));
            let text = match verdict {
                Ok(verdict) => match verdict? {
                    Ok(()) => continue,
                    Err(error) => format!("{error:#}"),
                },
                Err(panic) => format!("PANIC: {}", text_of(&*panic)),
            };
            sweep.violations += 1;
            if sweep.first.len() < TOLD_MAX {
                sweep.first.push(format!("call {nth}, {how}: {text}"));
            }
        }
        nth += stride;
    }
}

struct Lived {
    reached: bool,
    refused: bool,
    stopped: bool,
    left: Images,
}

#[expect(
    clippy::too_many_arguments,
    reason = "one run of the loop above, told apart for length"
)]
fn live(
    scenario: Scenario,
    side: Side,
    (nth, failure): (u64, Failure),
    place: &Place,
    seed: u64,
    before: &Images,
    tape: &Tape,
    join: Option<&str>,
) -> anyhow::Result<Lived> {
    let settings = scenario.settings();
    let mut disks = None;
    let lived = catch_unwind(AssertUnwindSafe(|| {
        on_one_thread(async {
            let mut world = World::new(
                place,
                settings,
                before.clone(),
                Some(tape.clone()),
                seed + 1,
            );
            let disk = match side {
                Side::Node => &world.node_disk,
                Side::Hub => &world.hub_disk,
            };
            disk.fail_at(nth, failure);
            disks = Some((
                Arc::clone(&world.node_disk),
                Arc::clone(&world.hub_disk),
                Arc::clone(disk),
            ));
            let failed = scenario.live(&mut world, join).await;
            // As they are while the programs still run: closing them is not what a kill does.
            (failed, world.images())
        })
    }));
    let (refused, stopped, images) = match lived {
        Ok(lived) => {
            let (failed, images) = lived?;
            (failed > 0, false, Some(images))
        }
        Err(_) => (false, true, None),
    };
    let (node, hub, failing) = disks.ok_or_else(|| anyhow::anyhow!("the world was not made"))?;
    let left = images.unwrap_or_else(|| Images {
        node: node.image(),
        hub: hub.image(),
    });
    Ok(Lived {
        reached: failing.has_failed(),
        refused,
        stopped,
        left: without_index(left),
    })
}

fn without_index(mut images: Images) -> Images {
    for image in [&mut images.node, &mut images.hub] {
        image.names.retain(|name, _| !name.ends_with("-shm"));
    }
    images
}

/// The same, with nothing on the failing side's disk that was not synced.
fn with_power_cut(before: &Images, killed: &Images, side: Side, tape: &Tape) -> Images {
    let image = |images: &Images| -> Image {
        match side {
            Side::Node => images.node.clone(),
            Side::Hub => images.hub.clone(),
        }
    };
    let entries: Arc<Vec<Entry>> = Arc::new(tape.entries());
    let mut walk = Walk::new(entries, side, image(before), Lie::None);
    while walk.step().is_some() {}
    let mut left = killed.clone();
    match side {
        Side::Node => left.node = walk.outcome(0, 0),
        Side::Hub => left.hub = walk.outcome(0, 0),
    }
    without_index(left)
}
