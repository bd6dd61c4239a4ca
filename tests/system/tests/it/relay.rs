//! The line between a till and the hub: it counts, and it can stop or go silent.

use crate::process::pause;
use counterfoil_testkit::SeededRandom;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes of a request's first line that are looked at.
const LINE_BYTES_MAX: usize = 1024;
/// How much more may come down in the next life of a command: a part of an answer, or one or two.
const STEP_BYTES_MAX: u64 = 1_500;
/// Nobody is that unlucky: the command does not get on.
const KILLS_MAX: usize = 100;
const SIGKILL: i32 = 9;

/// A line to the hub.
pub(crate) struct Relay {
    pub(crate) url: String,
    state: Arc<State>,
}

struct State {
    opened: AtomicU64,
    /// Connections up to this number are silent: they stay open and deliver nothing more, as after a
    /// router has forgotten them. Connections opened later work.
    silent: AtomicU64,
    down_bytes: AtomicU64,
    /// Nothing more comes down once so many bytes have, until it is raised.
    down_bytes_max: AtomicU64,
    /// Connections on which something waits to come down.
    held: AtomicU64,
    /// Paths of the `GET` requests, in order.
    asked: Mutex<Vec<String>>,
    /// The next `POST` to this path reaches the hub, and its answer nobody.
    lose: Mutex<Option<String>>,
    /// The connection on which an answer is lost.
    cut: AtomicU64,
}

impl Relay {
    pub(crate) fn to(hub_url: &str) -> Self {
        let hub = hub_url
            .strip_prefix("http://")
            .expect("an address")
            .to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let state = Arc::new(State {
            opened: AtomicU64::new(0),
            silent: AtomicU64::new(0),
            down_bytes: AtomicU64::new(0),
            down_bytes_max: AtomicU64::new(u64::MAX),
            held: AtomicU64::new(0),
            asked: Mutex::default(),
            lose: Mutex::default(),
            cut: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for till in listener.incoming() {
                let (Ok(till), Ok(hub)) = (till, TcpStream::connect(&hub)) else {
                    continue;
                };
                let number = shared.opened.fetch_add(1, Ordering::SeqCst) + 1;
                let copies = (till.try_clone(), hub.try_clone());
                let (Ok(till_end), Ok(hub_end)) = copies else {
                    continue;
                };
                let (up, down) = (Arc::clone(&shared), Arc::clone(&shared));
                thread::spawn(move || {
                    let mut line = Vec::new();
                    relay(till, hub, number, &up, |bytes| {
                        up.read_paths(number, &mut line, bytes);
                        true
                    });
                });
                thread::spawn(move || {
                    relay(hub_end, till_end, number, &down, |bytes| {
                        down.count(bytes);
                        down.cut.load(Ordering::SeqCst) != number
                    });
                });
            }
        });
        Self { url, state }
    }

    pub(crate) fn swallow(&self) {
        let opened = self.opened();
        self.state.silent.store(opened, Ordering::SeqCst);
    }

    /// Nothing is delivered any more, on no connection, until [`Self::swallow`] says that those opened later work.
    pub(crate) fn go_dark(&self) {
        self.state.silent.store(u64::MAX, Ordering::SeqCst);
    }

    /// The next `POST` to a path is answered, and the answer is lost with its connection.
    pub(crate) fn lose_answer_of(&self, path: &str) {
        *lock(&self.state.lose) = Some(path.to_owned());
    }

    /// Whether that has happened.
    pub(crate) fn has_lost_it(&self) -> bool {
        lock(&self.state.lose).is_none()
    }

    pub(crate) fn opened(&self) -> u64 {
        self.state.opened.load(Ordering::SeqCst)
    }

    /// Lets so many bytes more come down, give or take a buffer, and then none.
    pub(crate) fn stop_after(&self, bytes: u64) {
        let limit = self.down_bytes() + bytes;
        self.state.down_bytes_max.store(limit, Ordering::SeqCst);
    }

    pub(crate) fn go_on(&self) {
        let no_limit = u64::MAX;
        self.state.down_bytes_max.store(no_limit, Ordering::SeqCst);
    }

    /// What waits to come down on the newest connection is lost, and the connection with it.
    pub(crate) fn drop_held(&self) {
        self.state.cut.store(self.opened(), Ordering::SeqCst);
        self.go_on();
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.state.is_at_limit()
    }

    /// Whether the hub has said something that the till does not hear.
    pub(crate) fn holds(&self) -> bool {
        self.state.held.load(Ordering::SeqCst) > 0
    }

    pub(crate) fn down_bytes(&self) -> u64 {
        self.state.down_bytes.load(Ordering::SeqCst)
    }

    /// What follows `prefix` in the paths that were asked for, in order.
    pub(crate) fn asked(&self, prefix: &str) -> Vec<String> {
        let asked = lock(&self.state.asked);
        let after = asked.iter().filter_map(|path| path.strip_prefix(prefix));
        after.map(str::to_owned).collect()
    }
}

impl State {
    fn count(&self, bytes: &[u8]) {
        let size = u64::try_from(bytes.len()).expect("a buffer");
        if self.is_at_limit() {
            self.held.fetch_add(1, Ordering::SeqCst);
            while self.is_at_limit() {
                pause(Duration::from_millis(1));
            }
            self.held.fetch_sub(1, Ordering::SeqCst);
        }
        self.down_bytes.fetch_add(size, Ordering::SeqCst);
    }

    fn is_at_limit(&self) -> bool {
        let limit = self.down_bytes_max.load(Ordering::SeqCst);
        self.down_bytes.load(Ordering::SeqCst) >= limit
    }

    fn read_paths(&self, number: u64, line: &mut Vec<u8>, bytes: &[u8]) {
        for byte in bytes {
            if *byte != b'\n' {
                if line.len() < LINE_BYTES_MAX {
                    line.push(*byte);
                }
                continue;
            }
            let text = String::from_utf8_lossy(line).into_owned();
            if let Some(path) = text.strip_prefix("GET ") {
                let path = path.split(' ').next().unwrap_or_default().to_owned();
                lock(&self.asked).push(path);
            }
            if let Some(path) = text.strip_prefix("POST ") {
                let path = path.split(' ').next().unwrap_or_default();
                let mut lose = lock(&self.lose);
                if lose.as_deref() == Some(path) {
                    *lose = None;
                    self.cut.store(number, Ordering::SeqCst);
                }
            }
            line.clear();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a command again and again, and more comes down to it each time. It is killed while it waits for
/// an answer that is on its way, or right after it heard one. Returns the number of kills before a run
/// got through, which is never 0: in its first life it hears nothing.
pub(crate) fn kill_until_through(
    line: &Relay,
    random: &SeededRandom,
    command: impl Fn() -> Command,
) -> usize {
    let mut bytes = 0;
    let mut kills = 0;
    loop {
        line.stop_after(bytes);
        let hears = kills > 0 && random.below(2) == 0;
        let mut child = command().spawn().expect("the command starts");
        let status = end_of(&mut child, || line.holds() || (hears && line.has_stopped()));
        if status.signal() != Some(SIGKILL) {
            assert!(status.success(), "{status} after {kills} kills");
            line.go_on();
            return kills;
        }
        kills += 1;
        assert!(
            kills < KILLS_MAX,
            "killed {kills} times, and no run got through"
        );
        bytes += 1 + random.below(STEP_BYTES_MAX);
    }
}

/// Waits for the end of a process, which comes at the latest when it is to die.
fn end_of(child: &mut Child, dies: impl Fn() -> bool) -> ExitStatus {
    while !dies() {
        if let Some(status) = child.try_wait().expect("its state") {
            return status;
        }
        pause(Duration::from_millis(1));
    }
    // It may have ended meanwhile: its status says how.
    let _late = child.kill();
    child.wait().expect("it is gone")
}

fn relay(
    mut from: TcpStream,
    mut to: TcpStream,
    number: u64,
    state: &State,
    mut goes_on: impl FnMut(&[u8]) -> bool,
) {
    let mut buffer = [0; 4096];
    while let Ok(size @ 1..) = from.read(&mut buffer) {
        if !goes_on(&buffer[..size]) {
            // Either side may be gone already.
            let _gone = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        }
        let silent = number <= state.silent.load(Ordering::SeqCst);
        if !silent && to.write_all(&buffer[..size]).is_err() {
            return;
        }
    }
    if number > state.silent.load(Ordering::SeqCst) {
        // The other side may be gone already.
        let _gone = to.shutdown(Shutdown::Write);
    }
}
