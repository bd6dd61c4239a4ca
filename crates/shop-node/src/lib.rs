//! The daemon of one lane: local API, background sync, command line.
