//! libSQL WAL frames, the push and pull client, the hub's copy of a database.
