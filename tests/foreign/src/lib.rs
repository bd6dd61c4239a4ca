//! The stock libSQL client against our side of its protocol.
//!
//! All of it is in `tests/`; a package of its own keeps libSQL's `sync` feature, and the HTTP and
//! gRPC stacks that come with it, out of every other build.
