//! For tests only: a clock that is set by hand, repeatable randomness, directories that go away.

mod clock;
mod directory;
pub mod openapi;
mod random;

pub use clock::ManualClock;
pub use directory::TempDir;
pub use random::SeededRandom;
