//! The hub: sync server, consolidator, admin API.
