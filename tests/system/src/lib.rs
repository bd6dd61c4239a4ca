//! Real binaries on loopback, foreign libSQL clients.
