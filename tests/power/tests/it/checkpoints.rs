//! The WAL-reset race of the bundled engine: two connections that both checkpoint can lose committed
//! sales. Ours must not meet it, whatever happens between two calls of a checkpoint.

use crate::Ground;
use counterfoil_migrate::{Connection, Durability};
use counterfoil_replica::env::{Execution, Files};
use counterfoil_replica::vfs::{Disk, FileEvent, mount};
use counterfoil_replica::{BookReplica, Copy, CopyKind, OpenGate, Retry, WalLimit, WalLimits};
use power::disk::{Image, MemoryDisk, Mounted, Touch};
use power::run::on_one_thread;
use power::tape::Side;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

/// How long the checkpointing thread may take to the place where it is held up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Holds one thread up at one place, once.
struct Stop {
    thread: Mutex<Option<ThreadId>>,
    /// Calls left to the place; for an event, the first one is it.
    calls: AtomicU64,
    at_event: bool,
    reached: Mutex<Sender<()>>,
    go_on: Mutex<Receiver<()>>,
}

impl Stop {
    fn touch(&self, touch: Touch) {
        if *self.thread.lock().unwrap() != Some(std::thread::current().id()) {
            return;
        }
        let is_place = match touch {
            Touch::Event(FileEvent::CheckpointSawChange) => self.at_event,
            Touch::Call => !self.at_event && self.calls.fetch_sub(1, Ordering::SeqCst) == 1,
        };
        if is_place {
            *self.thread.lock().unwrap() = None;
            self.reached.lock().unwrap().send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
        }
    }
}

/// A database on a disk whose calls can be held up.
struct Stage {
    path: PathBuf,
    disk: Arc<MemoryDisk>,
    stop: Arc<Stop>,
    reached: Receiver<()>,
    go_on: Sender<()>,
    acknowledged: i64,
}

impl Stage {
    /// `call`: which call of the thread is the place; 0 for the event.
    fn new(ground: &Ground, call: u64) -> Self {
        counterfoil_replica::vfs::register_deterministic(call);
        let (reached_sender, reached) = channel();
        let (go_on, go_on_receiver) = channel();
        let stop = Arc::new(Stop {
            thread: Mutex::default(),
            calls: AtomicU64::new(call),
            at_event: call == 0,
            reached: Mutex::new(reached_sender),
            go_on: Mutex::new(go_on_receiver),
        });
        let path = ground.place().path(Side::Node, "sales.db");
        let folder = path.parent().unwrap().to_owned();
        let hook = Arc::clone(&stop);
        let disk = MemoryDisk::new(folder.clone(), Side::Node, Image::default(), None)
            .watched(Box::new(move |touch| hook.touch(touch)));
        let disk = Arc::new(disk);
        let mounted: Arc<dyn Disk> = Arc::new(Mounted(Arc::clone(&disk)));
        mount(&folder, mounted);
        Self {
            path,
            disk,
            stop,
            reached,
            go_on,
            acknowledged: 0,
        }
    }

    fn files(&self) -> Arc<dyn Files> {
        Arc::clone(&self.disk) as Arc<dyn Files>
    }

    fn sell(&mut self, connection: &Connection, count: usize) {
        for _ in 0..count {
            let sold = connection.execute_batch("INSERT INTO sale(body) VALUES (zeroblob(3000))");
            self.acknowledged += i64::from(sold.is_ok());
        }
    }

    /// Runs a checkpoint on a thread of its own; sells once while it is held up, if it gets there.
    fn checkpoint_with_a_sale_inside<C: Send>(
        &mut self,
        seller: &Connection,
        checkpointer: C,
        checkpoint: impl FnOnce(C) -> C + Send,
    ) -> (C, bool) {
        std::thread::scope(|scope| {
            let stop = Arc::clone(&self.stop);
            let running = scope.spawn(move || {
                *stop.thread.lock().unwrap() = Some(std::thread::current().id());
                let checkpointer = checkpoint(checkpointer);
                *stop.thread.lock().unwrap() = None;
                // Whoever waits need not wait any longer.
                stop.reached.lock().unwrap().send(()).ok();
                checkpointer
            });
            self.reached.recv_timeout(PATIENCE).unwrap();
            let held_up = !running.is_finished() && self.stop.thread.lock().unwrap().is_none();
            self.sell(seller, 1);
            // Nobody waits when it ran through.
            self.go_on.send(()).ok();
            (running.join().unwrap(), held_up)
        })
    }

    /// Sales found and what the engine's own check says, from a connection that saw nothing before.
    fn found(&self) -> Result<(i64, String), counterfoil_migrate::SqlError> {
        let fresh = Connection::open(&self.path, Durability::Full).unwrap();
        let count = fresh.query_value("SELECT count(*) FROM sale", ())?;
        Ok((count, fresh.query_value("PRAGMA integrity_check(1)", ())?))
    }

    fn assert_whole(&self, at: u64) {
        let found = self.found().unwrap();
        assert_eq!(
            found,
            (self.acknowledged, "ok".to_owned()),
            "held up at call {at}"
        );
    }
}

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path, Durability::Full).unwrap();
    let sql = "CREATE TABLE IF NOT EXISTS sale(id INTEGER PRIMARY KEY, body BLOB)";
    connection.execute_batch(sql).unwrap();
    // The thread that holds the lock is held up itself: waiting for it is in vain.
    connection.set_busy_timeout(Duration::ZERO).unwrap();
    connection
}

fn passive(connection: &Connection) {
    let sql = "PRAGMA wal_checkpoint(PASSIVE)";
    connection.query_map(sql, (), |_| Ok(())).unwrap();
}

/// Without this one the tests below would prove nothing: the engine has the race.
#[test]
fn two_naive_connections_lose_sales() {
    let ground = Ground::new("naive");
    let mut stage = Stage::new(&ground, 0);
    let (seller, slow, other) = (open(&stage.path), open(&stage.path), open(&stage.path));
    let count = "SELECT count(*) FROM sale";
    for connection in [&slow, &other] {
        let _seen: i64 = connection.query_value(count, ()).unwrap();
    }
    stage.sell(&seller, 40);
    passive(&other);
    let (slow, held_up) = stage.checkpoint_with_a_sale_inside(&seller, slow, |slow| {
        passive(&slow);
        slow
    });
    assert!(
        held_up,
        "the checkpoint was held up after it read the header"
    );
    stage.sell(&seller, 60);
    passive(&other);
    stage.sell(&seller, 1);
    passive(&other);
    drop((slow, other, seller));
    let whole = Ok((stage.acknowledged, "ok".to_owned()));
    let found = stage.found().map_err(|error| error.to_string());
    assert_ne!(found, whole, "the race did not bite");
}

/// Sells, checkpoints with a sale at the n-th call, sells, checkpoints; for every n.
fn at_every_call<C: Send>(
    name: &str,
    kind: impl Fn(&Stage) -> C,
    checkpoint: impl Fn(C) -> C + Sync,
) {
    let ground = Ground::new(name);
    let mut calls = 0;
    for call in 1.. {
        let mut stage = Stage::new(&ground, call);
        let mut owner = kind(&stage);
        let seller = open(&stage.path);
        let before = stage.acknowledged;
        stage.sell(&seller, 40);
        assert_eq!(stage.acknowledged, before + 40);
        let held_up;
        (owner, held_up) = stage.checkpoint_with_a_sale_inside(&seller, owner, &checkpoint);
        stage.sell(&seller, 60);
        owner = checkpoint(owner);
        stage.sell(&seller, 1);
        owner = checkpoint(owner);
        drop(seller);
        stage.assert_whole(call);
        drop(owner);
        if !held_up {
            break;
        }
        calls = call;
    }
    assert!(calls > 20, "{name}: the checkpoint made {calls} calls");
}

/// The gate stands open here, which it never does in a node: the engine's locks alone must do.
#[test]
fn a_sale_at_any_call_of_the_tills_checkpoint_is_kept_or_refused() {
    at_every_call(
        "till",
        |stage| BookReplica::open(&stage.path, stage.files(), Execution::Inline).unwrap(),
        |book| {
            let always = WalLimit {
                bytes: 0,
                age_ms: i64::MAX,
            };
            let limits = WalLimits {
                now_ms: 0,
                acknowledged: always,
                any: always,
            };
            on_one_thread(async { book.checkpoint_if_over(&OpenGate, limits).await })
                .unwrap()
                .unwrap();
            book
        },
    );
}

#[test]
fn a_write_at_any_call_of_the_hubs_generation_change_is_kept_or_refused() {
    at_every_call(
        "hub",
        |stage| Copy::open(&stage.path, CopyKind::Written, stage.files()).unwrap(),
        |mut copy| {
            // A write in between may be noticed; then it is tried again later.
            if let Err(error) = copy.begin_generation() {
                assert_ne!(error.retry(), Retry::Never, "{error:?}");
            }
            copy
        },
    );
}
