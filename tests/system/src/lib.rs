//! What benchmarks share: sales as a real till makes them.

pub mod sales;
