//! What a run has to tell beside its figures.

use std::sync::{Mutex, PoisonError};

/// Notes kept; the first ones say the most.
const NOTES_MAX: usize = 40;

static NOTES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps a line.
pub(crate) fn note(text: &str) {
    let mut notes = NOTES.lock().unwrap_or_else(PoisonError::into_inner);
    if notes.len() < NOTES_MAX {
        notes.push(text.to_owned());
    }
}

/// Takes the lines kept so far.
#[must_use]
pub fn take_notes() -> Vec<String> {
    std::mem::take(&mut *NOTES.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The lines kept so far, as one text for an error.
pub(crate) fn told() -> String {
    take_notes().join("\n")
}
