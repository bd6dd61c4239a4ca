//! What benchmarks share: books as real tills make them, and our programs as processes.

pub mod clock;
pub mod daemon;
pub mod figures;
pub mod idle;
pub mod products;
pub mod pushes;
pub mod sales;
