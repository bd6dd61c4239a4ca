//! What benchmarks share: sales as a real till makes them, and our programs as processes.

pub mod daemon;
pub mod sales;
