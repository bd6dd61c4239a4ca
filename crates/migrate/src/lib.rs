//! Opens libSQL databases by the engine rules and migrates them with refinery.
