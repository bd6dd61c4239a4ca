//! What the network does to each way between two hosts. Host 0 is the hub, the others are lanes.

use counterfoil_testkit::SeededRandom;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One way, from a host to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Way {
    /// Nothing passes.
    pub(super) cut: bool,
    /// Packets of a thousand that are lost.
    pub(super) loss: u32,
    /// Milliseconds until a packet arrives.
    pub(super) delay: u32,
    /// Packets of a thousand that arrive twice.
    pub(super) again: u32,
    /// Packets of a thousand that are overtaken.
    pub(super) late: u32,
}

/// All ways that are not as they should be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Weather {
    pub(super) name: String,
    pub(super) ways: BTreeMap<(usize, usize), Way>,
}

const CUT: Way = Way {
    cut: true,
    loss: 0,
    delay: 0,
    again: 0,
    late: 0,
};

impl Weather {
    /// Everything passes.
    pub(super) fn clear() -> Self {
        Self::default()
    }

    /// Every kind once, in an order that the seed decides.
    pub(super) fn all(lanes: usize, random: &SeededRandom) -> Vec<Self> {
        let mut all = Vec::new();
        for count in 2..=lanes.min(5) {
            for shape in shapes(count, count) {
                if shape.len() > 1 {
                    all.push(Self::parted(&shape, lanes, random));
                }
            }
        }
        all.extend(Self::chains(lanes, random));
        let every = |name: &str, way: Way| Self::everywhere(name, lanes, way);
        all.push(every(
            "30 % are lost",
            Way {
                loss: 300,
                ..Way::default()
            },
        ));
        all.push(Self::slow(lanes, 1_000));
        let again = Way {
            again: 200,
            late: 300,
            ..Way::default()
        };
        all.push(every("repeated and overtaken", again));
        all.push(Self::without_internet(lanes));
        let between =
            |lanes: usize| (1..=lanes).flat_map(move |from| (1..=lanes).map(move |to| (from, to)));
        let ways = between(lanes).map(|way| (way, CUT)).collect();
        all.push(Self {
            name: "the lanes do not see each other".to_owned(),
            ways,
        });
        let deaf = 1 + pick(lanes, random);
        let ways = (1..=lanes)
            .filter(|from| *from != deaf)
            .map(|from| ((from, deaf), CUT));
        all.push(Self {
            name: format!("lane {deaf} hears no other"),
            ways: ways.collect(),
        });
        let mute = 1 + pick(lanes, random);
        let ways = (1..=lanes)
            .filter(|to| *to != mute)
            .map(|to| ((mute, to), CUT));
        all.push(Self {
            name: format!("no other hears lane {mute}"),
            ways: ways.collect(),
        });
        shuffle(&mut all, random);
        all
    }

    fn everywhere(name: &str, lanes: usize, way: Way) -> Self {
        let ways = (0..=lanes).flat_map(|from| (0..=lanes).map(move |to| ((from, to), way)));
        let ways = ways.filter(|((from, to), _)| from != to).collect();
        Self {
            name: name.to_owned(),
            ways,
        }
    }

    /// Each packet takes so many milliseconds, on every way.
    pub(super) fn slow(lanes: usize, delay: u32) -> Self {
        let way = Way {
            delay,
            ..Way::default()
        };
        Self::everywhere(&format!("{delay} ms each way"), lanes, way)
    }

    /// Lanes of which not all see each other, and none is alone: whoever sees two others does not see that they do not see each
    /// other. Every second lane has no internet.
    fn chains(lanes: usize, random: &SeededRandom) -> Vec<Self> {
        if lanes < 3 {
            return Vec::new();
        }
        let line: Vec<_> = (1..lanes).map(|place| (place - 1, place)).collect();
        let star = (1..lanes).map(|place| (0, place)).collect();
        let mut all = vec![("a line", line.clone()), ("a star", star)];
        // Three lanes in a ring see each other.
        if lanes > 3 {
            all.push(("a ring", [&line[..], &[(0, lanes - 1)]].concat()));
        }
        let weather = |(name, seen): (&str, Vec<(usize, usize)>)| {
            let mut order: Vec<usize> = (1..=lanes).collect();
            shuffle(&mut order, random);
            let pairs = (0..lanes).flat_map(|a| (0..lanes).map(move |b| (a, b)));
            let blind = pairs
                .filter(|&(a, b)| a != b && !seen.contains(&(a, b)) && !seen.contains(&(b, a)));
            let mut ways: BTreeMap<_, _> =
                blind.map(|(a, b)| ((order[a], order[b]), CUT)).collect();
            for lane in order.iter().skip(1).step_by(2) {
                ways.extend([((0, *lane), CUT), ((*lane, 0), CUT)]);
            }
            Self {
                name: format!("{name} of lanes: {order:?}"),
                ways,
            }
        };
        all.into_iter().map(weather).collect()
    }

    /// The lanes see each other, and nobody sees the hub.
    pub(super) fn without_internet(lanes: usize) -> Self {
        let ways = (1..=lanes).flat_map(|lane| [((0, lane), CUT), ((lane, 0), CUT)]);
        Self {
            name: "no internet".to_owned(),
            ways: ways.collect(),
        }
    }

    /// Lanes in groups of these sizes that do not see each other; those that are left over are in the first. Every second
    /// group has no internet either.
    fn parted(shape: &[usize], lanes: usize, random: &SeededRandom) -> Self {
        let mut order: Vec<usize> = (1..=lanes).collect();
        shuffle(&mut order, random);
        let mut group_of = BTreeMap::new();
        let mut rest = order.into_iter();
        for (group, size) in shape.iter().enumerate() {
            group_of.extend(rest.by_ref().take(*size).map(|lane| (lane, group)));
        }
        group_of.extend(rest.map(|lane| (lane, 0)));
        let mut ways = BTreeMap::new();
        for (from, group) in &group_of {
            for (to, other) in &group_of {
                if group != other {
                    ways.insert((*from, *to), CUT);
                }
            }
            if group % 2 == 1 {
                ways.extend([((0, *from), CUT), ((*from, 0), CUT)]);
            }
        }
        Self {
            name: format!("parted as {shape:?}"),
            ways,
        }
    }

    /// As `python/switch.py` reads it.
    pub(super) fn rules(&self) -> Value {
        let rule = |(&(from, to), way): (&(usize, usize), &Way)| {
            let Way {
                cut,
                loss,
                delay,
                again,
                late,
            } = way;
            json!({"from": from, "to": to, "cut": cut, "loss": loss, "delay": delay, "again": again, "late": late})
        };
        self.ways.iter().map(rule).collect()
    }

    pub(super) fn way(&self, from: usize, to: usize) -> Way {
        self.ways.get(&(from, to)).copied().unwrap_or_default()
    }
}

/// All ways to part so many into groups, the largest first, none larger than that.
fn shapes(count: usize, largest: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut found = Vec::new();
    for first in (1..=count.min(largest)).rev() {
        for rest in shapes(count - first, first) {
            found.push([&[first], &rest[..]].concat());
        }
    }
    found
}

pub(super) fn pick(count: usize, random: &SeededRandom) -> usize {
    let bound = u64::try_from(count).unwrap_or(u64::MAX);
    usize::try_from(random.below(bound)).unwrap_or(0)
}

fn shuffle<T>(all: &mut [T], random: &SeededRandom) {
    for end in (1..all.len()).rev() {
        all.swap(end, pick(end + 1, random));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_lanes_are_parted_in_every_shape() {
        let parted = |count| shapes(count, count).len() - 1;
        assert_eq!([2, 3, 4, 5].map(parted), [1, 2, 4, 6]);
        let all = Weather::all(5, &SeededRandom::new(1));
        assert_eq!(all.len(), 13 + 3 + 7);
        assert_eq!(
            all,
            Weather::all(5, &SeededRandom::new(1)),
            "a seed repeats"
        );
        assert_ne!(all, Weather::all(5, &SeededRandom::new(2)));
    }

    #[test]
    fn in_a_line_a_ring_and_a_star_nobody_is_alone_and_not_all_see_each_other() {
        let seen = |lanes| {
            let chains = Weather::chains(lanes, &SeededRandom::new(1));
            let seen = |weather: &Weather, lane: usize| {
                let others = (1..=lanes).filter(|other| *other != lane);
                let others = others.filter(|other| !weather.way(lane, *other).cut);
                others.count()
            };
            let all = chains.iter().map(|weather| {
                let mut counts: Vec<_> = (1..=lanes).map(|lane| seen(weather, lane)).collect();
                counts.sort_unstable();
                counts
            });
            all.collect::<Vec<_>>()
        };
        assert_eq!(seen(5), [[1, 1, 2, 2, 2], [1, 1, 1, 1, 4], [2, 2, 2, 2, 2]]);
        assert_eq!(seen(3), [[1, 1, 2], [1, 1, 2]]);
        assert!(seen(2).is_empty());
    }
}
