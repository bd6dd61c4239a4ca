//! The node's three databases: the only SQL on the shop side.
