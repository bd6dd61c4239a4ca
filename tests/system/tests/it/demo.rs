//! The main job as `cargo demo` shows it, small: tills start in trial, are activated, lose the network,
//! are killed with the hub, come back; nothing is lost or doubled and every catalog is the same.

use crate::process::{HUB, NODE};
use counterfoil_demo::{Config, Report, Style, Timeline};
use counterfoil_testkit::TempDir;

/// Runs the demo with the programs of this build.
fn demo(dir: &TempDir, config: Config) -> Report {
    let programs = dir.join("bin");
    std::fs::create_dir(&programs).expect("a directory");
    for (name, program) in [("counterfoil-hub", HUB), ("counterfoil-node", NODE)] {
        std::os::unix::fs::symlink(program, programs.join(name)).expect("a link");
    }
    let config = Config {
        bin_dir: Some(programs),
        ..config
    };
    let timeline = Timeline::new(std::io::stdout(), Style::of(false));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime
        .block_on(counterfoil_demo::run(&config, &timeline))
        .expect("it ends")
}

/// Books of three countries that write each other's products differently, and change their minds.
fn invoices() -> String {
    let mut text =
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
            .to_owned();
    let mut number = 500_000;
    for day in 1..=20 {
        for (place, country) in ["France", "Germany", "Norway"].into_iter().enumerate() {
            number += 1;
            for product in 0..12 {
                // Each changes some names on some days, two of them sometimes alike.
                let style = (day * (product + 1) + product * place) % 5;
                let (code, hour) = (85_000 + product, 9 + place);
                text += &format!(
                    "{number},{code}A,PRODUCT {product} STYLE {style},{},2011-03-{day:02} {hour:02}:00:00,\
                     1.25,12345,{country}\n",
                    product + 1
                );
            }
        }
    }
    text
}

#[test]
fn names_that_shops_change_against_each_other_end_as_another_program_computes_from_their_books() {
    let dir = TempDir::new("names");
    let file = dir.join("invoices.csv");
    std::fs::write(&file, invoices()).expect("written");
    let report = demo(
        &dir,
        Config {
            data: Some(file),
            shops: None,
            lanes: 2,
            seed: 5,
            documents: 0,
            keep: None,
            bin_dir: None,
            cargo: "cargo".into(),
        },
    );
    assert_eq!(report.differences, [] as [String; 0]);
    let names = report.names.expect("computed a second time");
    assert_eq!(names.products, 12);
    assert!(names.versions > 100, "{names:?}");
    assert!(names.losers > 0, "{names:?}");
    assert_eq!(names.put_back, names.losers, "{names:?}");
}

#[test]
fn the_demo_passes_and_its_verdict_is_computed() {
    let dir = TempDir::new("demo");
    let report = demo(
        &dir,
        Config {
            data: None,
            shops: Some(2),
            lanes: 2,
            seed: 3,
            documents: 60,
            keep: None,
            bin_dir: None,
            cargo: "cargo".into(),
        },
    );
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
    let days = report.closed_days;
    assert!(days.days >= 1 && days.proved == days.days, "{days:?}");
    assert!(days.closures >= 4, "{days:?}");
    let hub: i64 = report.shops.iter().map(|shop| shop.total_minor_hub).sum();
    assert_ne!(hub, 0, "money was made");
    assert_eq!(days.total_minor, hub, "all of it is proved");
}
