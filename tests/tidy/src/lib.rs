//! House style as tests: layers, sizes, names. No dependencies.
