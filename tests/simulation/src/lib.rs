//! Many shops, one hub, seeded faults, the real engine.
