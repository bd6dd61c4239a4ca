//! Files that are not what was written: found, set aside or folded, and healed by the next push.

use std::{fs, path::Path};

use counterfoil_replica::{
    Copy, CopyError, CopyKind, Divergence, ExportOutcome, LocalCheckpoint, PullOutcome, PushError,
    Rotation, Supersede, Wal, limits::FRAME_BYTES,
};

use crate::{
    shop::Shop,
    support::{connect, content, files, pragma},
};

/// Turns one byte of a file over.
pub(crate) fn flip(path: &Path, at: usize) {
    use std::os::unix::fs::FileExt as _;
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    let at = u64::try_from(at).unwrap();
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[!byte[0]], at).unwrap();
}

fn cut(path: &Path, bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(bytes).unwrap();
}

/// Where byte `offset` of the page lies that frame `number` writes.
pub(crate) fn in_frame(number: usize, offset: usize) -> usize {
    32 + (number - 1) * FRAME_BYTES + 24 + offset
}

fn part(shop: &Shop, suffix: &str) -> std::path::PathBuf {
    shop.folder.path().join(format!("copy.db{suffix}"))
}

#[tokio::test]
async fn a_copy_that_cannot_be_read_is_set_aside_and_filled_again() {
    type Damage = fn(&Shop);
    let damages: [(&str, Damage); 8] = [
        ("record is no record", |shop| {
            fs::write(part(shop, "-sync"), b"{\"format\":1,").unwrap();
        }),
        ("record is empty", |shop| {
            fs::write(part(shop, "-sync"), b"").unwrap();
        }),
        ("record is gone", |shop| {
            fs::remove_file(part(shop, "-sync")).unwrap();
        }),
        ("file is cut", |shop| cut(&part(shop, ""), 8192)),
        ("file is empty", |shop| cut(&part(shop, ""), 0)),
        ("file is no database", |shop| {
            fs::write(part(shop, ""), vec![7; 20_000]).unwrap();
        }),
        ("another file", |shop| {
            let source = shop.folder.path().join("elsewhere.db");
            fs::copy(source, part(shop, "")).map(drop).unwrap();
        }),
        ("a byte of the file", |shop| {
            flip(&part(shop, ""), 4096 * 2 + 100);
        }),
    ];
    for (name, damage) in damages {
        let mut shop = Shop::open().await;
        let elsewhere = connect(&shop.folder.path().join("elsewhere.db")).await;
        crate::support::create_sales(&elsewhere).await;
        pragma(&elsewhere, "PRAGMA wal_checkpoint(TRUNCATE)").await;
        drop(elsewhere);
        shop.sell_at_once(500).await;
        shop.push().await;
        shop.hub.on_copy(Copy::begin_generation).unwrap();
        shop.sell(5).await;
        let before = shop.push().await.generation;
        let path = shop.copy_path();
        let mut aside = None;
        shop.hub.restart_with(|| {
            damage(&shop);
            fs::remove_file(part(&shop, "-shm")).ok();
            let (mut copy, found) = Copy::open_or_set_aside(&path, files()).unwrap();
            aside = found;
            if let Err(error) = copy.verify() {
                assert!(error.is_damage(), "{name}: {error:?}");
                drop(copy);
                aside = Some(Copy::set_aside(&path, &*files(), &error, &[]).unwrap());
                copy = Copy::open_or_set_aside(&path, files()).unwrap().0;
            }
            copy
        });
        let aside = aside.unwrap_or_else(|| panic!("{name}: nothing was found"));
        assert!(aside.kept.exists(), "{name}");
        shop.sell(3).await;
        let report = shop.push_with(Supersede::Never).await.unwrap();
        assert!(report.difference_pages.is_some(), "{name}");
        assert!(
            report.generation > before && report.generation == aside.generation,
            "{name}"
        );
        shop.sell(3).await;
        assert_eq!(shop.push().await.difference_pages, None, "{name}");
    }
}

#[tokio::test]
async fn a_number_of_a_generation_is_given_out_once_however_often_the_record_is_lost() {
    let mut shop = Shop::open().await;
    let mut last = 0;
    for round in 0..4 {
        shop.sell(5).await;
        shop.push().await;
        let path = shop.copy_path();
        shop.hub.restart_with(|| {
            if round % 2 == 0 {
                fs::remove_file(part(&shop, "-sync")).unwrap();
            } else {
                fs::write(part(&shop, ""), vec![7; 20_000]).unwrap();
            }
            Copy::open_or_set_aside(&path, files()).unwrap().0
        });
        let generation = shop.push().await.generation;
        assert!(generation > last, "{generation} after {last}");
        last = generation;
    }
}

#[tokio::test]
async fn setting_aside_is_completed_after_a_crash_at_any_step() {
    use crate::faults::CrashingFiles;
    for takes_effect in [false, true] {
        for changes in 1.. {
            let mut shop = Shop::open().await;
            shop.sell(5).await;
            shop.push().await;
            let path = shop.copy_path();
            let mut done = false;
            shop.hub.restart_with(|| {
                fs::write(part(&shop, ""), vec![7; 20_000]).unwrap();
                let crashing = CrashingFiles::new(changes, takes_effect);
                let damage = CopyError::Damaged { path: path.clone() };
                done = Copy::set_aside(&path, &*crashing, &damage, &[]).is_ok();
                Copy::open_or_set_aside(&path, files()).unwrap().0
            });
            shop.sell(1).await;
            shop.push_with(Supersede::Never).await.unwrap();
            shop.push().await;
            if done {
                assert!(changes > 5, "it has many steps, it had {changes}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_frame_that_is_damaged_while_the_hub_runs_is_not_given_out() {
    let mut shop = Shop::open().await;
    shop.sell(20).await;
    shop.push().await;
    flip(&part(&shop, "-wal"), in_frame(3, 1000));
    let end = shop.hub.on_copy(Copy::info).unwrap().committed_frame_no + 1;
    let error = shop.hub.on_copy(|copy| copy.pull(1, 1, end)).unwrap_err();
    assert!(error.is_damage(), "{error:?}");
    assert!(shop.hub.on_copy(Copy::verify).unwrap_err().is_damage());
    // Frames behind it can still be had.
    let pulled = shop.hub.on_copy(|copy| copy.pull(1, end - 1, end)).unwrap();
    assert!(matches!(pulled, PullOutcome::Frames(_)));
}

#[tokio::test]
async fn a_hub_whose_wal_was_damaged_or_cut_gets_what_it_lacks() {
    for damage in [true, false] {
        let mut shop = Shop::open().await;
        shop.push().await;
        shop.sell(20).await;
        shop.push().await;
        let path = shop.copy_path();
        shop.hub.restart(&path, CopyKind::Pushed, || {
            let wal = part(&shop, "-wal");
            let frames = usize::try_from(fs::metadata(&wal).unwrap().len()).unwrap();
            let frames = frames.div_euclid(FRAME_BYTES);
            if damage {
                flip(&wal, in_frame(frames - 4, 500));
            } else {
                cut(&wal, u64::try_from(in_frame(frames - 4, 500)).unwrap());
            }
            fs::remove_file(part(&shop, "-shm")).ok();
        });
        shop.sell(2).await;
        let report = shop.push_with(Supersede::Never).await.unwrap();
        assert!(
            report.difference_pages.is_none() && report.frames > 4,
            "{report:?}"
        );
        shop.push().await;
    }
}

#[tokio::test]
async fn a_damaged_frame_in_a_book_is_folded_before_later_sales_are_lost_with_it() {
    let mut shop = Shop::open().await;
    shop.push().await;
    let before = usize::try_from(shop.book.status().await.unwrap().frames).unwrap();
    // All into one page, so that every frame but the last is superseded.
    shop.sell(10).await;
    let wal = shop.folder.path().join("book.db-wal");
    flip(&wal, in_frame(before + 2, 3000));
    let refused = shop.push_with(Supersede::Never).await.unwrap_err();
    assert!(
        matches!(
            refused,
            PushError::Diverged {
                divergence: Divergence::Damaged,
                ..
            }
        ),
        "{refused:?}"
    );
    // What was saved survives a restart, and the hub gets it.
    shop.sell(2).await;
    shop = shop.restart(async |_| ()).await;
    assert!(shop.push().await.difference_pages.is_some());
    shop.sell(2).await;
    assert_eq!(shop.push().await.difference_pages, None);
}

#[tokio::test]
async fn a_book_whose_wal_is_cut_or_whose_index_is_gone_goes_on() {
    let mut shop = Shop::open().await;
    shop.sell(10).await;
    shop.push().await;
    shop = shop
        .restart(async |path| {
            fs::remove_file(format!("{}-shm", path.display())).ok();
        })
        .await;
    shop.sell(1).await;
    assert_eq!(
        shop.push_with(Supersede::Never)
            .await
            .unwrap()
            .difference_pages,
        None
    );
    shop = shop
        .restart(async |path| {
            let wal = std::path::PathBuf::from(format!("{}-wal", path.display()));
            let bytes = fs::metadata(&wal).unwrap().len();
            cut(&wal, bytes - 2000);
            fs::remove_file(format!("{}-shm", path.display())).ok();
        })
        .await;
    let refused = shop.push_with(Supersede::Never).await.unwrap_err();
    assert!(
        matches!(
            refused,
            PushError::Diverged {
                divergence: Divergence::HubAhead,
                ..
            }
        ),
        "{refused:?}"
    );
    shop.sold = content(&shop.book_path()).await.0.len();
    shop.push().await;
    shop.sell(3).await;
    assert_eq!(shop.push().await.difference_pages, None);
}

#[tokio::test]
async fn a_book_whose_record_is_damaged_or_whose_file_was_replaced_gets_numbers_again() {
    let mut shop = Shop::open().await;
    shop.sell(10).await;
    shop.push().await;
    shop = shop
        .restart(async |path| fs::write(format!("{}-sync", path.display()), "{").unwrap())
        .await;
    shop.sell(1).await;
    let report = shop.push().await;
    assert_eq!(report.divergence, Some(Divergence::NoNumbers));
    assert_eq!(shop.checkpoint().await, LocalCheckpoint::Done);
    let mut old = Vec::new();
    shop = shop
        .restart(async |path| old = fs::read(path).unwrap())
        .await;
    let sold = shop.sold;
    shop.sell(10).await;
    shop.push().await;
    shop = shop
        .restart(async |path| {
            fs::write(&path, &old).unwrap();
            for part in ["-wal", "-shm"] {
                fs::remove_file(format!("{}{part}", path.display())).ok();
            }
        })
        .await;
    shop.sold = sold;
    shop.sell(2).await;
    let refused = shop.push_with(Supersede::Never).await.unwrap_err();
    assert!(
        matches!(
            refused,
            PushError::Diverged {
                divergence: Divergence::ForeignCheckpoint,
                ..
            }
        ),
        "{refused:?}"
    );
    shop.push().await;
    shop.sell(2).await;
    assert_eq!(shop.push().await.divergence, None);
}

/// A connection in the middle of a read.
async fn reader(path: &Path) -> libsql::Connection {
    let connection = connect(path).await;
    connection.execute("BEGIN", ()).await.unwrap();
    pragma(&connection, "SELECT count(*) FROM sale").await;
    connection
}

#[tokio::test]
async fn a_generation_that_meets_a_reader_begins_later_and_no_torn_file_is_given_out() {
    // A reader of the newest state lets every frame be moved, one of an older state some.
    for newest in [true, false] {
        let mut shop = Shop::open().await;
        shop.sell_at_once(300).await;
        shop.push().await;
        shop.hub.on_copy(Copy::begin_generation).unwrap();
        shop.sell_at_once(300).await;
        shop.push().await;
        let mut reading = reader(&shop.copy_path()).await;
        if !newest {
            shop.sell_at_once(300).await;
            shop.push().await;
        }
        let begun = shop.hub.on_copy(Copy::begin_generation).unwrap();
        assert_eq!(begun, Rotation::Busy);
        let generation = shop.hub.on_copy(Copy::info).unwrap().generation;
        let torn = shop.hub.on_copy(|copy| copy.export(generation, 1, 2));
        assert!(torn.is_err(), "a file of no generation was given out");
        if newest {
            // The reader goes, and the next frames begin the WAL anew without another checkpoint.
            drop(reading);
            shop.sell(5).await;
            assert_eq!(shop.push().await.difference_pages, None);
        } else {
            // A crash in between: the intent is found, and not taken for the deed.
            let path = shop.copy_path();
            drop(reading);
            shop.hub.restart(&path, CopyKind::Pushed, || ());
            assert_eq!(shop.hub.on_copy(Copy::info).unwrap().generation, generation);
            reading = reader(&path).await;
            assert!(
                shop.hub
                    .on_copy(|copy| copy.export(generation, 1, 2))
                    .is_err()
            );
            drop(reading);
        }
        shop.hub.on_copy(Copy::begin_generation).unwrap();
        let info = shop.hub.on_copy(Copy::info).unwrap();
        assert!(info.generation > generation);
        let exported = shop.folder.path().join("exported.db");
        let bytes = shop.hub.on_copy(|copy| whole(copy, info.generation));
        fs::write(&exported, bytes).unwrap();
        assert_eq!(content(&exported).await.0.len(), shop.sold);
        assert_eq!(content(&exported).await.1, "ok");
        shop.sell(5).await;
        assert_eq!(shop.push().await.difference_pages, None);
        shop.hub.on_copy(Copy::verify).unwrap();
    }
}

/// The file that a generation began with, from its parts.
fn whole(copy: &mut Copy, generation: u64) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let next = u64::try_from(whole.len()).unwrap().div_euclid(4096) + 1;
        match copy.export(generation, next, next + 256).unwrap() {
            ExportOutcome::Part { bytes, .. } => whole.extend(bytes),
            end => {
                assert!(next > 1 && end == ExportOutcome::BadRequest, "{end:?}");
                return whole;
            }
        }
    }
}

#[tokio::test]
async fn a_local_checkpoint_that_meets_a_reader_keeps_the_numbers() {
    for newest in [true, false] {
        let mut shop = Shop::open().await;
        shop.sell_at_once(300).await;
        shop.push().await;
        let reading = reader(&shop.book_path()).await;
        if !newest {
            shop.sell(3).await;
            shop.push().await;
        }
        assert_eq!(shop.checkpoint().await, LocalCheckpoint::Busy);
        if newest {
            drop(reading);
            shop.sell(3).await;
        } else {
            shop.sell(3).await;
            drop(reading);
        }
        shop = shop.restart(async |_| ()).await;
        assert_eq!(
            shop.push_with(Supersede::Never)
                .await
                .unwrap()
                .difference_pages,
            None
        );
        shop.push().await;
        assert_eq!(shop.checkpoint().await, LocalCheckpoint::Done);
        shop.sell(3).await;
        assert_eq!(
            shop.push_with(Supersede::Never)
                .await
                .unwrap()
                .difference_pages,
            None
        );
        shop.push().await;
    }
}

#[tokio::test]
async fn checksums_of_frames_are_sqlites_own() {
    let shop = Shop::open().await;
    crate::support::sell(&shop.store, 30).await;
    let path = shop.book_path();
    let mut wal = Wal::open(&path, counterfoil_replica::Durability::Full).unwrap();
    let last = wal.position().unwrap().frames;
    let read = |wal: &mut Wal, first| {
        let mut body = Vec::new();
        wal.read(|reading| reading.frames_into(first, last, &mut body))
    };
    read(&mut wal, 1).unwrap();
    let file = format!("{}-wal", path.display());
    // Page, page number, size after commit, salt, checksum: every byte of a frame counts.
    for offset in [24 + 4095, 24, 0, 7, 8, 15, 16, 23] {
        let at = 32 + 9 * FRAME_BYTES + offset;
        flip(Path::new(&file), at);
        let error = read(&mut wal, 1).unwrap_err();
        assert!(error.is_damage(), "byte {offset}: {error:?}");
        flip(Path::new(&file), at);
        read(&mut wal, 1).unwrap();
    }
}
