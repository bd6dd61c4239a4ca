use proptest::prelude::*;

use super::*;

fn salt(number: u8) -> Salt {
    Salt([number; 8])
}

fn mapping(generation: u64, shift: i64) -> Mapping {
    Mapping {
        generation,
        shift,
        from: 0,
        chain: Chain([0; 32]),
    }
}

fn bound(number: u8, mapping: Mapping) -> Record {
    Record {
        salt: Some(salt(number)),
        mapping: Some(mapping),
        ..Record::default()
    }
}

/// A local checkpoint of `frames` frames, begun.
fn intending(record: &Record, frames: u64) -> Record {
    let next = record
        .mapping
        .map(|now| now.after_checkpoint(frames, Chain([1; 32])));
    Record {
        next: Some(Next {
            frames,
            mapping: next,
            closes: None,
            counts_on: None,
            lost: None,
        }),
        ..record.clone()
    }
}

#[test]
fn an_intent_stays_until_the_wal_is_longer_than_what_it_speaks_of() {
    let before = bound(1, mapping(3, 100));
    let mut record = intending(&before, 20);
    let intended = record.clone();
    assert_eq!(record.resolve(Some(salt(1)), 20), Resolution::Same);
    assert_eq!(record, intended);
    assert_eq!(record.resolve(Some(salt(1)), 21), Resolution::Same);
    assert_eq!(record, before);
}

#[test]
fn a_crash_after_the_truncate_takes_the_next_mapping() {
    for observed in [None, Some(salt(2))] {
        let mut record = intending(&bound(1, mapping(3, 100)), 20);
        assert_eq!(record.resolve(observed, 0), Resolution::Advanced);
        assert_eq!(
            record.mapping.map(|next| (next.generation, next.shift)),
            Some((3, 120))
        );
        assert_eq!((record.salt, record.next), (observed, None));
    }
}

#[test]
fn the_first_frames_of_an_empty_wal_bind_its_salt() {
    let mut record = Record {
        salt: None,
        ..bound(1, mapping(3, 120))
    };
    assert_eq!(record.resolve(None, 0), Resolution::Same);
    assert_eq!(record.resolve(Some(salt(2)), 1), Resolution::Bound);
    assert_eq!(record, bound(2, mapping(3, 120)));
}

#[test]
fn a_new_salt_without_an_intent_is_foreign() {
    for observed in [None, Some(salt(2))] {
        let mut record = bound(1, mapping(3, 100));
        assert_eq!(record.resolve(observed, 0), Resolution::Foreign);
        assert_eq!((record.salt, record.mapping), (observed, None));
        assert_eq!(
            record.resolve(observed, 0),
            Resolution::Same,
            "it is told once"
        );
    }
}

#[test]
fn a_checkpoint_of_the_hub_remembers_where_the_generation_ended() {
    let closes = |generation| ClosedGeneration {
        generation,
        end_frame: generation * 10,
    };
    let mut record = bound(0, mapping(1, 0));
    for generation in 1..=70_u8 {
        let closes = closes(u64::from(generation));
        let next = mapping(u64::from(generation) + 1, 0);
        record.next = Some(Next {
            frames: 10,
            mapping: Some(next),
            closes: Some(closes),
            counts_on: None,
            lost: None,
        });
        assert_eq!(
            record.resolve(Some(salt(generation)), 0),
            Resolution::Advanced
        );
    }
    assert_eq!(record.closed.len(), CLOSED_GENERATIONS_MAX);
    assert_eq!(record.closed.last(), Some(&closes(70)));
}

#[test]
fn a_record_survives_its_file_form() {
    let record = intending(&bound(9, mapping(7, -12)), 4);
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
}

/// What happens to a database: the model counts every frame ever written by the node.
#[derive(Clone, Copy, Debug)]
enum Step {
    Write(u64),
    Checkpoint(Outcome),
    HubCloses,
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// Nothing was moved.
    CrashBefore,
    /// Everything was moved, and a reader kept the WAL from being emptied: the next writer begins it
    /// anew.
    MovedOnly,
    Done,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1..50_u64).prop_map(Step::Write),
        Just(Step::Checkpoint(Outcome::CrashBefore)),
        Just(Step::Checkpoint(Outcome::MovedOnly)),
        Just(Step::Checkpoint(Outcome::Done)),
        Just(Step::HubCloses),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    /// Whatever the order of writes, local checkpoints, crashes and hub generations, local frame i
    /// is the hub frame that the model counts.
    #[test]
    fn numbers_stay_true(steps in steps()) {
        let mut record = bound(1, mapping(1, 0));
        let (mut wal, mut written, mut closed) = (0_u64, 0_u64, 0_u64);
        let (mut salts, mut moved) = (1_u64, false);
        let now = |salts: u64| Some(Salt(salts.to_be_bytes()));
        record.salt = now(salts);
        for step in steps {
            match step {
                Step::Write(frames) => {
                    if std::mem::take(&mut moved) {
                        salts += 1;
                        wal = 0;
                    }
                    wal += frames;
                    written += frames;
                    record.resolve(now(salts), wal);
                }
                Step::Checkpoint(outcome) => {
                    record = intending(&record, wal);
                    match outcome {
                        Outcome::CrashBefore => {}
                        Outcome::MovedOnly => moved = true,
                        Outcome::Done => {
                            moved = false;
                            salts += 1;
                            wal = 0;
                        }
                    }
                    let text = serde_json::to_string(&record).unwrap();
                    record = serde_json::from_str(&text).unwrap();
                    record.resolve(now(salts), wal);
                }
                Step::HubCloses => {
                    let end = written - closed;
                    closed = written;
                    record.settle(record.mapping.unwrap().after_close(end));
                }
            }
            let mapping = record.mapping.unwrap();
            prop_assert_eq!(u64::try_from(mapping.hub_frame(wal)).ok(), Some(written - closed));
            prop_assert_eq!(mapping.local_frame(written - closed), i64::try_from(wal).unwrap());
        }
    }
}
