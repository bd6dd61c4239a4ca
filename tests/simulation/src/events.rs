//! The event log of a run: what the programs said, with simulated time and host.

use crate::environment::{EPOCH_MS, WorldTime};
use crate::record::Sometimes;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Lines kept for a report; older ones are dropped.
const LINES_MAX: usize = 200_000;

/// Lines of the programs that tell that something rare was reached.
const REACHED: [(&str, &str); 9] = [
    ("the pages that differ are sent", "difference sent"),
    ("a generation began past=book", "hub folded a book"),
    ("a generation began past=catalog", "hub folded the catalog"),
    ("book=Done", "node folded its book"),
    ("catalog=Done", "node folded its catalog"),
    ("sync incomplete", "sync failed"),
    ("frame numbers are lost", "foreign checkpoint detected"),
    ("consolidation stopped", "consolidation failed"),
    ("consolidation of a node stopped", "consolidation halted"),
];

/// Collects events of our own programs.
#[derive(Clone)]
pub(crate) struct Events {
    state: Arc<Mutex<State>>,
}

struct State {
    time: Arc<WorldTime>,
    /// Replaced in every line: it differs from run to run.
    folder: String,
    lines: VecDeque<String>,
    hasher: blake3::Hasher,
    reached: BTreeMap<&'static str, u64>,
    spans: BTreeMap<u64, String>,
    entered: Vec<u64>,
    next_span: u64,
}

impl Events {
    pub(crate) fn new(time: Arc<WorldTime>, folder: String) -> Self {
        let state = State {
            time,
            folder,
            lines: VecDeque::new(),
            hasher: blake3::Hasher::new(),
            reached: BTreeMap::new(),
            spans: BTreeMap::new(),
            entered: Vec::new(),
            next_span: 1,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line of the simulation itself.
    pub(crate) fn note(&self, text: &str) {
        self.state().line("world", text);
    }

    /// All lines kept, oldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.state().lines.iter().cloned().collect()
    }

    /// Digest over all lines.
    pub(crate) fn digest(&self) -> String {
        self.state().hasher.finalize().to_hex().to_string()
    }

    /// Adds what the lines tell was reached.
    pub(crate) fn reached(&self, sometimes: &mut Sometimes) {
        for (what, times) in &self.state().reached {
            sometimes.add(what, *times);
        }
    }
}

impl State {
    fn line(&mut self, host: &str, text: &str) {
        let elapsed_ms = self.time.now_ms() - EPOCH_MS;
        let text = text.replace(&self.folder, "~");
        let line = format!("{elapsed_ms:>7} {host:<6} {text}");
        for (needle, what) in REACHED {
            if line.contains(needle) {
                *self.reached.entry(what).or_default() += 1;
            }
        }
        self.hasher.update(line.as_bytes());
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    fn host(&self) -> String {
        let innermost = self.entered.iter().rev().find_map(|id| self.spans.get(id));
        innermost.cloned().unwrap_or_else(|| "world".to_owned())
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
    name: Option<String>,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String cannot fail.
        match field.name() {
            "message" => write!(self.message, "{value:?}").ok(),
            name => write!(self.fields, " {name}={value:?}").ok(),
        };
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        write!(self.fields, " {}={value}", field.name()).ok();
        let mut cause = value.source();
        while let Some(inner) = cause {
            write!(self.fields, ": {inner}").ok();
            cause = inner.source();
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "name" {
            self.name = Some(value.to_owned());
        }
        self.record_debug(field, &format_args!("{value}"));
    }
}

impl Subscriber for Events {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let own = metadata.target().starts_with("counterfoil");
        own || (metadata.is_span() && metadata.target().starts_with("turmoil"))
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut text = Text::default();
        attributes.record(&mut text);
        let mut state = self.state();
        let id = state.next_span;
        state.next_span += 1;
        if let Some(name) = text.name {
            state.spans.insert(id, name);
        }
        Id::from_u64(id)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let mut state = self.state();
        let host = state.host();
        let level = event.metadata().level().as_str();
        let line = format!("{level:<5} {}{}", text.message, text.fields);
        state.line(&host, &line);
    }

    fn enter(&self, span: &Id) {
        self.state().entered.push(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        let mut state = self.state();
        if let Some(at) = state.entered.iter().rposition(|id| *id == span.into_u64()) {
            state.entered.remove(at);
        }
    }

    fn try_close(&self, span: Id) -> bool {
        self.state().spans.remove(&span.into_u64());
        true
    }
}
