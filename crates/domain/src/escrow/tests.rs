use super::*;
use uuid::Uuid;

fn id(number: u128) -> DocumentId {
    DocumentId::from_uuid(Uuid::from_u128(number))
}

fn node(number: usize) -> NodeId {
    NodeId::from_uuid(Uuid::from_u128(u128::try_from(number).expect("small") + 1))
}

fn quantity(milli: i64) -> Quantity {
    Quantity::from_milli(milli)
}

fn deed(number: u128, origin: usize, seq: i64, act: EscrowAct) -> Deed {
    Deed {
        id: id(number),
        origin: node(origin),
        seq,
        hlc: Hlc::from_raw(seq),
        escrow: Escrow {
            sku: "LAMP".to_owned(),
            lane: Some(1),
            at_ms: 5,
            employee: None,
            act,
        },
    }
}

fn begin(milli: i64, replaces: &[u128]) -> EscrowAct {
    EscrowAct::Begin {
        quantity: quantity(milli),
        replaces: replaces.iter().map(|number| id(*number)).collect(),
    }
}

fn give(to: usize, milli: i64, need: Option<u128>) -> EscrowAct {
    EscrowAct::Give {
        escrow: id(1),
        to: node(to),
        quantity: quantity(milli),
        need: need.map(id),
    }
}

fn granted(standing: &Standing, lane: usize) -> i64 {
    standing.share(node(lane)).granted
}

#[test]
fn rights_are_what_was_begun_given_and_taken_over_whatever_comes_first_or_twice() {
    let deeds = [
        deed(1, 0, 3, begin(5000, &[])),
        deed(2, 1, 1, EscrowAct::Join { escrow: id(1) }),
        deed(3, 0, 4, give(1, 2000, Some(9))),
        deed(
            4,
            2,
            2,
            EscrowAct::Take {
                escrow: id(1),
                from: node(0),
                quantity: quantity(1000),
            },
        ),
        // Of another escrow, before.
        deed(5, 2, 1, EscrowAct::Join { escrow: id(77) }),
    ];
    let known = Standing::of(&deeds).expect("it holds");
    let shares = [0, 1, 2].map(|lane| granted(&known, lane));
    assert_eq!((known.id, shares), (id(1), [2000, 2000, 1000]));
    assert!(known.has_answered(node(0), id(9)) && !known.has_answered(node(1), id(9)));
    assert_eq!(known.share(node(0)).since, Some(3));
    assert_eq!(known.share(node(1)).rights(-2000), 0);
    let mut twice: Vec<&Deed> = deeds.iter().rev().chain(&deeds).collect();
    assert_eq!(Standing::of(twice.iter().copied()), Some(known.clone()));
    twice.rotate_left(3);
    assert_eq!(Standing::of(twice), Some(known));
}

#[test]
fn what_ends_an_escrow_ends_it_in_any_order_and_the_next_one_gives_rights_anew() {
    let first = deed(1, 0, 1, begin(5000, &[]));
    let end = deed(
        2,
        1,
        1,
        EscrowAct::End {
            escrows: vec![id(1)],
        },
    );
    assert_eq!(Standing::of([&first, &end]), None);
    assert_eq!(Standing::of([&end]), None);
    let join = deed(3, 1, 2, EscrowAct::Join { escrow: id(1) });
    assert_eq!(
        Standing::of([&join, &end]),
        None,
        "nobody joins what has ended"
    );
    let next = deed(4, 2, 9, begin(3000, &[1]));
    let known = Standing::of([&next, &join, &first]).expect("the next one");
    assert_eq!(
        (known.id, granted(&known, 0), granted(&known, 2)),
        (id(4), 0, 3000)
    );
    assert_eq!(known.void, BTreeSet::new());
}

#[test]
fn of_two_begun_apart_the_earlier_one_holds_and_the_other_makes_no_rights() {
    let (one, other) = (
        deed(1, 0, 1, begin(5000, &[])),
        deed(2, 1, 7, begin(5000, &[])),
    );
    for deeds in [[&one, &other], [&other, &one]] {
        let known = Standing::of(deeds).expect("one of them");
        assert_eq!((known.id, granted(&known, 1)), (id(1), 0));
        assert_eq!(known.void, BTreeSet::from([id(2)]));
    }
}

#[test]
fn rights_that_were_void_stay_so_at_a_lane_that_lost_the_earlier_escrow() {
    // By its id the later one would be the first.
    let earlier = deed(5, 0, 1, begin(5000, &[]));
    let own = deed(2, 1, 7, begin(5000, &[]));
    let join = deed(3, 1, 8, EscrowAct::Join { escrow: id(5) });
    // Another lane took part in the later one before it knew of the earlier.
    let beside = deed(4, 2, 1, EscrowAct::Join { escrow: id(2) });
    let known = Standing::of([&own, &join, &beside]).expect("one of them");
    assert_eq!((known.id, granted(&known, 1)), (id(5), 0));
    assert_eq!(known.void, BTreeSet::new(), "it may have ended");
    let whole = Standing::of([&own, &join, &beside, &earlier]).expect("one of them");
    assert_eq!((whole.id, whole.void), (known.id, BTreeSet::from([id(2)])));
    let end = |number: u128| EscrowAct::End {
        escrows: vec![id(number)],
    };
    let only = deed(9, 2, 2, end(5));
    let known = Standing::of([&own, &join, &earlier, &only]).expect("the later one");
    assert_eq!((known.id, granted(&known, 1)), (id(2), 5000));
}

#[test]
fn of_two_products_that_were_merged_the_earlier_escrow_holds_whoever_joined_which() {
    let join = |number: u128, origin: usize, seq: i64, escrow: u128| {
        let escrow = id(escrow);
        deed(number, origin, seq, EscrowAct::Join { escrow })
    };
    let one = deed(1, 0, 5, begin(5000, &[]));
    let mut other = deed(2, 1, 7, begin(5000, &[]));
    other.escrow.sku = "LIGHT".to_owned();
    let (by_one, by_other) = (join(3, 0, 8, 2), join(4, 1, 9, 1));
    let known = Standing::of([&one, &other, &by_one, &by_other]).expect("one of them");
    assert_eq!((known.id, granted(&known, 0)), (id(1), 5000));
    assert_eq!(known.void, BTreeSet::from([id(2)]));
    // Neither sells by what it began as long as it does not know which was the earlier.
    for (own, deeds) in [(0, [&one, &by_one]), (1, [&other, &by_other])] {
        let known = Standing::of(deeds).expect("the other's");
        assert_eq!((known.begun, granted(&known, own)), (None, 0));
    }
    // Not even what began them is here.
    let known = Standing::of([&by_one, &by_other]).expect("one of them");
    assert_eq!((known.begun, granted(&known, 0)), (None, 0));
}

#[test]
fn a_lane_that_lost_the_end_of_an_escrow_has_no_rights_of_it_when_it_took_part_in_the_next_one() {
    let (old, new) = (id(1), id(2));
    let joins = [
        deed(8, 2, 5, EscrowAct::Join { escrow: old }),
        deed(9, 2, 9, EscrowAct::Join { escrow: new }),
    ];
    let known = Standing::of(&joins).expect("the new one");
    assert_eq!((known.id, known.share(node(2)).since), (new, Some(9)));
    // Its end has not come yet.
    let begun = deed(1, 0, 1, begin(5000, &[]));
    let given = deed(7, 0, 2, give(2, 2000, None));
    let known = Standing::of(joins.iter().chain([&begun, &given])).expect("the new one");
    assert_eq!((known.id, granted(&known, 2)), (new, 0));
}

#[test]
fn who_began_an_escrow_that_has_ended_has_no_rights_of_it_when_only_the_next_ones_beginning_is_here()
 {
    let old = deed(1, 0, 5, begin(5000, &[]));
    // By a lane that never heard of the old one; what ended that has not come.
    let new = deed(2, 3, 1, begin(3000, &[]));
    let join = deed(3, 0, 9, EscrowAct::Join { escrow: id(2) });
    let known = Standing::of([&old, &new, &join]).expect("the new one");
    assert_eq!(
        (known.id, granted(&known, 0), granted(&known, 3)),
        (id(2), 0, 3000)
    );
}

#[test]
fn a_lane_has_the_number_that_it_said_last() {
    let numbered = |lane: i64, mut deed: Deed| {
        deed.escrow.lane = Some(lane);
        deed
    };
    let joined = numbered(2, deed(9, 1, 1, EscrowAct::Join { escrow: id(1) }));
    let later = numbered(7, deed(3, 1, 2, give(0, 1000, None)));
    let known = Standing::of([&deed(1, 0, 1, begin(5000, &[])), &later, &joined]);
    let share = known.expect("begun").share(node(1));
    assert_eq!(share.lane, Some(7));
}

#[test]
fn a_lane_that_lost_what_began_an_escrow_has_what_it_was_given_and_no_more() {
    let join = deed(2, 1, 1, EscrowAct::Join { escrow: id(1) });
    let known = Standing::of([&join]).expect("it takes part in one");
    assert_eq!(
        (known.id, known.begun, granted(&known, 1)),
        (id(1), None, 0)
    );
    let given = deed(3, 0, 4, give(1, 2000, None));
    let known = Standing::of([&join, &given]).expect("it takes part in one");
    assert_eq!(granted(&known, 1), 2000);
}

/// What stands in a journal of the test below.
#[derive(Clone, Debug)]
enum Entry {
    Deed(EscrowAct),
    /// Goods went out or came back.
    Moved(i64),
}

/// Lanes with a journal each, of which the others hold the first entries.
struct World {
    seed: u64,
    /// By identity; a restored till goes on under another one.
    journals: Vec<Vec<Entry>>,
    /// How many entries of whose journal who holds.
    held: Vec<Vec<usize>>,
    /// Identities that nobody goes on under.
    gone: BTreeSet<usize>,
    came_in: i64,
    sold: i64,
}

impl World {
    const PIECE: i64 = 1000;

    fn new(seed: u64) -> Self {
        let begun = begin(4 * Self::PIECE, &[]);
        Self {
            seed: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            journals: vec![vec![Entry::Deed(begun)], vec![], vec![]],
            held: vec![vec![0; 3]; 3],
            gone: BTreeSet::new(),
            came_in: 4 * Self::PIECE,
            sold: 0,
        }
    }

    fn draw(&mut self, below: usize) -> usize {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        usize::try_from(self.seed >> 33).expect("64 bits") % below
    }

    fn lane(&mut self) -> usize {
        loop {
            let lane = self.draw(self.journals.len());
            if !self.gone.contains(&lane) {
                return lane;
            }
        }
    }

    fn knows(&self, lane: usize, of: usize) -> usize {
        match lane == of {
            true => self.journals[of].len(),
            false => self.held[lane][of],
        }
    }

    /// What a lane knows.
    fn standing(&self, lane: usize) -> Option<Standing> {
        let mut deeds = Vec::new();
        for (origin, journal) in self.journals.iter().enumerate() {
            let known = &journal[..self.knows(lane, origin)];
            for (seq, entry) in (1_i64..).zip(known) {
                if let Entry::Deed(act) = entry {
                    let number = match act {
                        EscrowAct::Begin { .. } => 1,
                        _ => {
                            u128::try_from(1000 * (origin + 1)).expect("small")
                                + u128::try_from(seq).expect("small")
                        }
                    };
                    deeds.push(deed(number, origin, seq, act.clone()));
                }
            }
        }
        Standing::of(&deeds)
    }

    fn moved(&self, of: usize, since: Option<i64>) -> i64 {
        let Some(since) = since else { return 0 };
        let behind = (1_i64..)
            .zip(&self.journals[of])
            .filter(|(seq, _)| *seq > since);
        behind
            .map(|(_, entry)| match entry {
                Entry::Moved(milli) => *milli,
                Entry::Deed(_) => 0,
            })
            .sum()
    }

    /// The rights by which a lane acts; it joins what it has heard of first.
    fn rights(&mut self, lane: usize) -> Option<i64> {
        let known = self.standing(lane)?;
        if known.share(node(lane)).since.is_none() {
            self.journals[lane].push(Entry::Deed(EscrowAct::Join { escrow: id(1) }));
        }
        let share = self.standing(lane)?.share(node(lane));
        Some(share.rights(self.moved(lane, share.since)))
    }

    fn sell(&mut self, lane: usize) {
        if self
            .rights(lane)
            .is_some_and(|rights| rights >= Self::PIECE)
        {
            self.journals[lane].push(Entry::Moved(-Self::PIECE));
            self.sold += Self::PIECE;
        }
    }

    /// One lane asks another, maybe for what it has asked for before.
    fn ask(&mut self, lane: usize, giver: usize) {
        let need = u128::try_from(self.draw(40)).expect("small") + 500;
        let Some(rights) = self.rights(giver) else {
            return;
        };
        let answered = self
            .standing(giver)
            .is_some_and(|it| it.has_answered(node(giver), id(need)));
        if lane != giver && rights >= Self::PIECE && !answered {
            let act = give(lane, Self::PIECE, Some(need));
            self.journals[giver].push(Entry::Deed(act));
        }
    }

    fn deliver(&mut self, lane: usize, origin: usize) {
        let lacks = self.journals[origin].len() - self.knows(lane, origin);
        if lane != origin && lacks > 0 {
            self.held[lane][origin] += 1 + self.draw(lacks);
        }
    }

    /// The folder is put back; what was sold after the backup stands in the former journal, under the former name.
    fn restore(&mut self, lane: usize) {
        let next = self.journals.len();
        self.gone.insert(lane);
        self.journals.push(Vec::new());
        let mut held = self.held[lane].clone();
        held[lane] = self.journals[lane].len() - self.draw(self.journals[lane].len() + 1);
        self.held.push(held);
        assert_eq!(self.held.len(), next + 1);
        for held in &mut self.held {
            held.push(0);
        }
    }

    fn step(&mut self) {
        let (lane, other) = (self.lane(), self.draw(self.journals.len()));
        match self.draw(20) {
            0..=6 => self.sell(lane),
            7..=10 => {
                let other = self.lane();
                self.ask(lane, other);
            }
            11..=15 => self.deliver(lane, other),
            // A refund, by a lane that has heard of it.
            16 if self.sold > 0 && self.draw(4) == 0 && self.rights(lane).is_some() => {
                self.journals[lane].push(Entry::Moved(Self::PIECE));
                self.sold -= Self::PIECE;
            }
            17 if self.draw(8) == 0 && self.rights(lane).is_some() => {
                self.journals[lane].push(Entry::Moved(Self::PIECE));
                self.came_in += Self::PIECE;
            }
            // What it held of others is lost.
            18 => self.held[lane].fill(0),
            19 if self.journals.len() < 8 && self.draw(10) == 0 => self.restore(lane),
            _ => {}
        }
    }
}

#[test]
fn no_more_is_sold_than_came_in_whatever_arrives_where_and_when() {
    let mut sold_out = 0;
    for seed in 0..100 {
        let mut world = World::new(seed);
        for step in 0..300 {
            world.step();
            sold_out += usize::from(world.sold == world.came_in);
            assert!(
                world.sold <= world.came_in,
                "seed {seed}, step {step}: {:?}",
                world.journals
            );
        }
        // Everything comes to everybody in the end: no right was made or lost.
        for lane in 0..world.journals.len() {
            for origin in 0..world.journals.len() {
                world.held[lane][origin] = world.journals[origin].len();
            }
        }
        let known = world.standing(0).expect("it holds");
        let shares = known.shares.iter();
        let rights = shares.map(|(lane, share)| {
            let of = (0..world.journals.len())
                .find(|of| node(*of) == *lane)
                .expect("a lane");
            share.rights(world.moved(of, share.since))
        });
        assert_eq!(
            rights.sum::<i64>(),
            world.came_in - world.sold,
            "seed {seed}"
        );
    }
    assert!(
        sold_out > 1_000,
        "the last piece is what this is about: {sold_out}"
    );
}
