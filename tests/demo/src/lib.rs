//! The main job on real processes: a chain of shops trades through an outage.
