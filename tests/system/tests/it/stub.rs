//! Something in the place of a hub that says what a test tells it to say, and keeps what it was asked.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// A request: its path, and its body.
pub(crate) type Asked = (String, Value);

/// What is said to a request: a status and a document.
type Answer = Box<dyn Fn(&Asked) -> (u16, Value) + Send>;

/// Something that listens where a hub did.
pub(crate) struct Stub {
    state: Arc<Mutex<State>>,
}

struct State {
    answer: Answer,
    asked: Vec<Asked>,
}

impl Stub {
    pub(crate) fn at(url: &str, answer: impl Fn(&Asked) -> (u16, Value) + Send + 'static) -> Self {
        let address = url.strip_prefix("http://").expect("an address");
        let listener = TcpListener::bind(address).expect("the hub has left it");
        let state = Arc::new(Mutex::new(State {
            answer: Box::new(answer),
            asked: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &state));
            }
        });
        Self { state }
    }

    /// Says something else from now on, and has heard nothing so far.
    pub(crate) fn says(&self, answer: impl Fn(&Asked) -> (u16, Value) + Send + 'static) {
        let mut state = lock(&self.state);
        state.answer = Box::new(answer);
        state.asked.clear();
    }

    /// Bodies that were sent to a path, in order.
    pub(crate) fn asked(&self, path: &str) -> Vec<Value> {
        let state = lock(&self.state);
        let of_path = state.asked.iter().filter(|(asked, _)| asked == path);
        of_path.map(|(_, body)| body.clone()).collect()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request; whoever has more to ask connects again.
fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let Some(asked) = read(&stream) else { return };
    let (status, document) = {
        let mut state = lock(state);
        state.asked.push(asked.clone());
        (state.answer)(&asked)
    };
    let body = document.to_string();
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\nConnection: close\r\n");
    // Whoever does not wait for the answer asks again.
    let _sent = write!(stream, "{head}Content-Type: application/json\r\n\r\n{body}");
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        let (name, value) = header.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, serde_json::from_slice(&body).unwrap_or_default()))
}
