//! Fixtures, a simulated clock and temporary databases, for tests only.
