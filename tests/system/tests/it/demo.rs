//! The main job as `cargo demo` shows it, small: tills start in trial, are activated, lose the network,
//! are killed with the hub, come back; nothing is lost or doubled and every catalog is the same.

use crate::process::{HUB, NODE};
use counterfoil_demo::{Config, Style, Timeline};
use counterfoil_testkit::TempDir;

#[test]
fn the_demo_passes_and_its_verdict_is_computed() {
    let dir = TempDir::new("demo");
    let programs = dir.join("bin");
    std::fs::create_dir(&programs).expect("a directory");
    for (name, program) in [("counterfoil-hub", HUB), ("counterfoil-node", NODE)] {
        std::os::unix::fs::symlink(program, programs.join(name)).expect("a link");
    }
    let config = Config {
        data: None,
        shops: Some(2),
        lanes: 2,
        seed: 3,
        documents: 60,
        keep: None,
        bin_dir: Some(programs),
        cargo: "cargo".into(),
    };
    let timeline = Timeline::new(std::io::stdout(), Style::of(false));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let report = runtime
        .block_on(counterfoil_demo::run(&config, &timeline))
        .expect("it ends");
    assert_eq!(report.differences, [] as [String; 0]);
    assert_eq!(
        (
            report.lost,
            report.duplicated,
            report.altered,
            report.unexpected
        ),
        (0, 0, 0, 0)
    );
    assert!(
        report.kills_by.nodes >= 3 && report.kills_by.hub >= 2,
        "{:?}",
        report.kills_by
    );
    assert_eq!(report.catalog_digests.len(), 5);
    let digests: std::collections::BTreeSet<_> = report.catalog_digests.values().collect();
    assert_eq!(digests.len(), 1);
    let hub: i64 = report.shops.iter().map(|shop| shop.total_minor_hub).sum();
    assert_ne!(hub, 0, "money was made");
}
