//! Somebody between two lanes that speak WebSocket in the clear: hears every text, and says what he likes in its place.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What becomes of a text on its way; `None` when it gets no further.
type Change = dyn FnMut(Way, String) -> Option<String> + Send;

/// Where a text goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// To the lane that was dialed.
    Up,
    /// Back to the one that dialed.
    Down,
}

/// See the module.
pub(crate) struct Middle {
    /// Where he listens, `HOST:PORT`.
    pub(crate) address: String,
    said: Arc<Mutex<Vec<(Way, String)>>>,
    change: Arc<Mutex<Box<Change>>>,
}

impl Middle {
    /// Before the lane at an address.
    pub(crate) fn before(
        lane: &str,
        change: impl FnMut(Way, String) -> Option<String> + Send + 'static,
    ) -> Self {
        let lane = lane.strip_prefix("ws://").expect("an address").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let said: Arc<Mutex<Vec<(Way, String)>>> = Arc::default();
        let change: Arc<Mutex<Box<Change>>> = Arc::new(Mutex::new(Box::new(change)));
        let (heard, changes) = (Arc::clone(&said), Arc::clone(&change));
        thread::spawn(move || {
            for from in listener.incoming().flatten() {
                let Ok(to) = TcpStream::connect(&lane) else {
                    continue;
                };
                let copies = (from.try_clone(), to.try_clone());
                let (from_too, to_too) = (copies.0.expect("a copy"), copies.1.expect("a copy"));
                for (way, from, to) in [(Way::Up, from, to), (Way::Down, to_too, from_too)] {
                    let (heard, changes) = (Arc::clone(&heard), Arc::clone(&changes));
                    thread::spawn(move || pass(way, from, to, &heard, &changes));
                }
            }
        });
        Self {
            address,
            said,
            change,
        }
    }

    /// Does something else from now on.
    pub(crate) fn changes(
        &self,
        change: impl FnMut(Way, String) -> Option<String> + Send + 'static,
    ) {
        *self.change.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(change);
    }

    /// What was said, as it came to him.
    pub(crate) fn said(&self) -> Vec<(Way, String)> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }
}

fn pass(
    way: Way,
    mut from: TcpStream,
    mut to: TcpStream,
    heard: &Mutex<Vec<(Way, String)>>,
    change: &Mutex<Box<Change>>,
) {
    let ended = pass_all(way, &mut from, &mut to, heard, change);
    // The other end is told that nothing more comes; it may be gone.
    let _gone = (ended, to.shutdown(Shutdown::Write));
}

fn pass_all(
    way: Way,
    from: &mut TcpStream,
    to: &mut TcpStream,
    heard: &Mutex<Vec<(Way, String)>>,
    change: &Mutex<Box<Change>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    to.write_all(&head)?;
    loop {
        let (first, payload) = read_frame(from)?;
        let payload = match String::from_utf8(payload) {
            Ok(text) if first == 0x81 => {
                let said = (way, text.clone());
                heard
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(said);
                let mut change = change.lock().unwrap_or_else(PoisonError::into_inner);
                match change(way, text) {
                    Some(text) => text.into_bytes(),
                    None => continue,
                }
            }
            Ok(text) => text.into_bytes(),
            Err(bytes) => bytes.into_bytes(),
        };
        write_frame(to, way, first, &payload)?;
    }
}

/// The first byte of a frame, and what is in it.
fn read_frame(from: &mut impl Read) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    from.read_exact(&mut head)?;
    let mut length = usize::from(head[1] & 0x7f);
    if length == 126 {
        let mut long = [0; 2];
        from.read_exact(&mut long)?;
        length = usize::from(u16::from_be_bytes(long));
    }
    assert_ne!(length, 127, "nothing so long is said here");
    let mut mask = [0; 4];
    if head[1] & 0x80 != 0 {
        from.read_exact(&mut mask)?;
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload)?;
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok((head[0], payload))
}

/// Under a mask that changes nothing, where there must be one.
fn write_frame(to: &mut impl Write, way: Way, first: u8, payload: &[u8]) -> std::io::Result<()> {
    let mask = if way == Way::Up { 0x80 } else { 0 };
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(short @ 0..126) => frame.push(mask | short),
        _ => {
            frame.push(mask | 126);
            let length = u16::try_from(payload.len()).expect("short");
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend(if way == Way::Up { &[0; 4][..] } else { &[] });
    frame.extend(payload);
    to.write_all(&frame)
}
