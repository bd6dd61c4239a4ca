//! The rules of the folders under `/migrations`.

use std::path::{Path, PathBuf};

use counterfoil_migrate::{Kind, Schema};

fn folder(kind: Kind) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../migrations")
        .join(kind.as_str())
}

#[test]
fn files_are_numbered_from_one_without_gaps() {
    for kind in Kind::ALL {
        let schema = Schema::from_folder(folder(kind)).unwrap();
        assert!(schema.version() >= 1, "{kind} has no migration");
        // What the program carries is what the folder holds.
        assert_eq!(schema.names(), kind.schema().names(), "{kind}");
        let count = std::fs::read_dir(folder(kind)).unwrap().count();
        assert_eq!(count, schema.names().len(), "another file in {kind}");
    }
}

#[test]
fn every_file_begins_with_two_comment_lines() {
    for kind in Kind::ALL {
        for entry in std::fs::read_dir(folder(kind)).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let comments = text.lines().take(2).filter(|line| line.starts_with("-- "));
            assert_eq!(comments.count(), 2, "{}", path.display());
            assert!(!text.contains('\r'), "CRLF in {}", path.display());
        }
    }
}
