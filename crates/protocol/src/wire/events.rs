//! Server-sent events: the hub tells who listens which database has news.
//!
//! A stream begins with [`Event::Listening`] and one [`Event::Notice`] of how things stand; further
//! notices follow when something changes. Between them comment lines prove that the line is alive:
//! a listener that hears nothing for longer knows that it is not.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET`: the stream; the node's token.
pub const EVENTS_PATH: &str = "/v1/events";

/// Media type of the stream.
pub const EVENTS_MEDIA_TYPE: &str = "text/event-stream";

/// Name of the catalog in a [`Notice`].
pub const CATALOG_DATABASE: &str = "catalog";

/// A comment, which says that the line is alive and nothing else.
pub const HEARTBEAT: &str = ":\n\n";

/// Bytes of one line of the stream; a longer one is an error, so that no server can fill memory.
pub const EVENT_LINE_BYTES_MAX: usize = 4096;

const LISTENING: &str = "listening";
const NOTICE: &str = "notice";

/// A database has frames up to here. Only the newest notice counts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Notice {
    /// Which database, such as [`CATALOG_DATABASE`].
    pub database: String,
    /// Its current generation.
    pub generation: u64,
    /// The last committed frame of that generation; 0 when it has none yet.
    pub frame: u64,
}

/// One event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The stream is open.
    Listening {
        /// Longest time between two signs of life, in milliseconds.
        heartbeat_ms: u64,
    },
    /// A database has news.
    Notice(Notice),
}

#[derive(Serialize, Deserialize, ToSchema)]
struct Listening {
    heartbeat_ms: u64,
}

impl Event {
    /// The event as it travels.
    #[must_use]
    pub fn to_text(&self) -> String {
        let (name, data) = match self {
            Self::Listening { heartbeat_ms } => {
                let heartbeat_ms = *heartbeat_ms;
                (LISTENING, serde_json::json!(Listening { heartbeat_ms }))
            }
            Self::Notice(notice) => (NOTICE, serde_json::json!(notice)),
        };
        format!("event: {name}\ndata: {data}\n\n")
    }
}

/// Bytes that are no stream of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EventError {
    /// A line without an end.
    #[error("a line is longer than {EVENT_LINE_BYTES_MAX} bytes")]
    Line,
    /// A known event that does not say what it should.
    #[error("an event cannot be read")]
    Content,
}

/// Reads a stream of events in whatever pieces it arrives.
#[derive(Debug, Default)]
pub struct EventReader {
    line: Vec<u8>,
    name: String,
    data: String,
}

impl EventReader {
    /// Takes more bytes and gives the events that are whole by now. Comments and events of an unknown
    /// name give none: they come from a newer hub.
    ///
    /// # Errors
    /// [`EventError`]; the stream is of no use any more.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Vec<Event>, EventError> {
        let mut events = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                if self.line.len() == EVENT_LINE_BYTES_MAX {
                    return Err(EventError::Line);
                }
                self.line.push(byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = std::str::from_utf8(&line).map_err(|_| EventError::Content)?;
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.is_empty() {
                events.extend(self.event()?);
            } else if let Some(name) = field(line, "event") {
                name.clone_into(&mut self.name);
            } else if let Some(data) = field(line, "data") {
                // Our documents are one line each; the last one counts.
                data.clone_into(&mut self.data);
            }
        }
        Ok(events)
    }

    fn event(&mut self) -> Result<Option<Event>, EventError> {
        let (name, data) = (
            std::mem::take(&mut self.name),
            std::mem::take(&mut self.data),
        );
        let wrong = |_| EventError::Content;
        match name.as_str() {
            LISTENING => {
                let Listening { heartbeat_ms } = serde_json::from_str(&data).map_err(wrong)?;
                Ok(Some(Event::Listening { heartbeat_ms }))
            }
            NOTICE => Ok(Some(Event::Notice(
                serde_json::from_str(&data).map_err(wrong)?,
            ))),
            _ => Ok(None),
        }
    }
}

/// The value of a field, when the line is of that field.
fn field<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let value = line.strip_prefix(name)?.strip_prefix(':')?;
    Some(value.strip_prefix(' ').unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(frame: u64) -> Event {
        Event::Notice(Notice {
            database: CATALOG_DATABASE.to_owned(),
            generation: 3,
            frame,
        })
    }

    #[test]
    fn events_are_read_in_whatever_pieces_they_arrive() {
        let events = [
            Event::Listening { heartbeat_ms: 9 },
            notice(1),
            notice(u64::MAX),
        ];
        let mut text = String::from("event: of the future\ndata: ?\n\n");
        for event in &events {
            text += HEARTBEAT;
            text += &event.to_text();
        }
        for text in [text.clone(), text.replace('\n', "\r\n")] {
            for size in 1..text.len() {
                let mut reader = EventReader::default();
                let pieces = text.as_bytes().chunks(size);
                let read: Vec<Event> = pieces
                    .flat_map(|piece| reader.read(piece).unwrap())
                    .collect();
                assert_eq!(read, events, "in pieces of {size}");
            }
        }
    }

    #[test]
    fn what_is_no_stream_of_events_is_an_error() {
        let long = vec![b'x'; EVENT_LINE_BYTES_MAX + 1];
        let mut reader = EventReader::default();
        assert_eq!(reader.read(&long), Err(EventError::Line));
        for text in [
            &b"event: notice\n\n"[..],
            b"event: notice\ndata: {}\n\n",
            b"\xff\n",
        ] {
            let mut reader = EventReader::default();
            assert_eq!(reader.read(text), Err(EventError::Content), "{text:?}");
        }
    }
}
