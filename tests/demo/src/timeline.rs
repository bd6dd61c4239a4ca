//! The story as it happens: one line an event, with the time, who, and what.

use crate::config::no_color;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Width of the column that says who.
const WHO_WIDTH: usize = 20;

/// How text is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// For a terminal: bold and dim.
    Terminal,
    /// For a file or a pipe: letters only.
    Plain,
}

impl Style {
    /// Plain unless stdout is a terminal and nobody asked for no colours.
    pub fn of(is_terminal: bool) -> Self {
        if is_terminal && !no_color() {
            Self::Terminal
        } else {
            Self::Plain
        }
    }

    fn wrap(self, code: &str, text: &str) -> String {
        match self {
            Self::Terminal => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }

    /// Text that the eye should find.
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// Text that may stand back.
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }
}

/// Where the story goes; clones write to the same place.
#[derive(Clone)]
pub struct Timeline {
    out: Arc<Mutex<Box<dyn Write + Send>>>,
    style: Style,
    start: Instant,
}

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeline")
            .field("style", &self.style)
            .finish_non_exhaustive()
    }
}

impl Timeline {
    /// A story that begins now.
    pub fn new(out: impl Write + Send + 'static, style: Style) -> Self {
        let out: Box<dyn Write + Send> = Box::new(out);
        Self {
            out: Arc::new(Mutex::new(out)),
            style,
            start: Instant::now(),
        }
    }

    /// The same output, with the clock at zero.
    #[must_use]
    pub(crate) fn restarted(&self) -> Self {
        Self {
            start: Instant::now(),
            ..self.clone()
        }
    }

    /// How text is set.
    pub const fn style(&self) -> Style {
        self.style
    }

    /// Time since the story began.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Text without time and person.
    pub fn text(&self, text: &str) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // A reader that has gone away must not end the demo.
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    }

    /// A new chapter.
    pub(crate) fn chapter(&self, title: &str) {
        self.text(&format!("\n{}\n", self.style.bold(title)));
    }

    /// Something happened.
    pub(crate) fn say(&self, who: &str, what: impl AsRef<str>) {
        let time = self
            .style
            .dim(&format!("{:>6.1}s", self.elapsed().as_secs_f64()));
        self.text(&format!("{time}  {who:<WHO_WIDTH$} {}\n", what.as_ref()));
    }
}
