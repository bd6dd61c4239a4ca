use super::*;
use crate::edit::Scalar;
use crate::hlc::Hlc;
use crate::ids::{DocumentId, NodeId, ShopId};
use crate::merge::{Field, Origin, Policy, Stamp, Version};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::convert::Infallible;
use uuid::Uuid;

type Map = BTreeMap<String, String>;

fn ends(map: &Map, row: &str) -> String {
    let found = survivor::<Infallible>(row, |at| Ok(map.get(at).cloned()));
    found.unwrap_or_else(|never| match never {})
}

fn map(pairs: &[(&str, &str)]) -> Map {
    let owned = |(from, to): &(&str, &str)| ((*from).to_owned(), (*to).to_owned());
    pairs.iter().map(owned).collect()
}

#[test]
fn chains_end_at_their_end_and_rings_at_their_first_row() {
    let chain = map(&[("A", "B"), ("B", "C")]);
    for row in ["A", "B", "C"] {
        assert_eq!(ends(&chain, row), "C");
    }
    // Two tills merged A and B into each other, a third C into A.
    let ring = map(&[("B", "A"), ("A", "B"), ("C", "B")]);
    for row in ["A", "B", "C"] {
        assert_eq!(ends(&ring, row), "A");
    }
    // An alias of itself is none.
    assert_eq!(ends(&map(&[("A", "A")]), "A"), "A");
    assert_eq!(ends(&ring, "D"), "D");
}

#[test]
fn an_alias_names_a_row_of_a_table_that_documents_point_to() {
    assert_eq!(alias_id("products", "A/B"), "products/A/B");
    assert_eq!(aliased("products/A/B"), Some(("products", "A/B")));
    assert_eq!(aliased("customers/ANN"), Some(("customers", "ANN")));
    for id in ["products/", "products", "taxes/20", ""] {
        assert_eq!(aliased(id), None, "{id}");
    }
}

/// Somebody merges a row into another one, or takes that back, having seen some of the versions.
#[derive(Clone, Debug)]
struct Merge {
    at: i64,
    node: u128,
    from: usize,
    into: Option<usize>,
    seen: Vec<usize>,
}

const ROWS: [&str; 5] = ["A", "B", "C", "D", "E"];

fn merges() -> impl Strategy<Value = Vec<Merge>> {
    let merge = (
        0..40_i64,
        1..4_u128,
        0..ROWS.len(),
        prop::option::weighted(0.8, 0..ROWS.len()),
        prop::collection::vec(0..30_usize, 0..3),
    );
    let merge = merge.prop_map(|(at, node, from, into, seen)| Merge {
        at,
        node,
        from,
        into,
        seen,
    });
    prop::collection::vec(merge, 0..30)
}

/// The fields `survivor` of all aliases, as a hub has them that was told in this order.
fn told(merges: &[Merge], order: &[usize]) -> BTreeMap<usize, Field> {
    let mut fields: BTreeMap<usize, Field> = BTreeMap::new();
    let stamp = |merge: &Merge| {
        let node = NodeId::from_uuid(Uuid::from_u128(merge.node));
        (Stamp::new(Hlc::at_millis(merge.at), node), node)
    };
    for index in order {
        let merge = &merges[*index];
        let (at, node) = stamp(merge);
        let seen = merge.seen.iter().filter_map(|seen| merges.get(*seen));
        let seen = seen
            .filter(|seen| seen.from == merge.from)
            .map(|seen| stamp(seen).0);
        let value = match merge.into {
            Some(into) => Scalar::Text(ROWS[into].to_owned()),
            None => Scalar::Null,
        };
        let version = Version {
            value,
            base: seen.filter(|seen| *seen < at).collect(),
            corrected: at.hlc,
            origin: Origin {
                edit: DocumentId::from_uuid(Uuid::from_u128(*index as u128)),
                node,
                shop: Some(ShopId::from_uuid(Uuid::from_u128(merge.node))),
                imported: false,
            },
        };
        fields.entry(merge.from).or_default().insert(at, version);
    }
    fields
}

fn standing(fields: &BTreeMap<usize, Field>) -> Map {
    let current = |field: &Field| {
        let decision = field.decide(&Policy::LastWriterWins.into(), None)?;
        match &field.version(&decision.current)?.value {
            Scalar::Text(into) => Some(into.clone()),
            Scalar::Null | Scalar::Integer(_) => None,
        }
    };
    let alias = |(from, field): (&usize, &Field)| Some((ROWS[*from].to_owned(), current(field)?));
    fields.iter().filter_map(alias).collect()
}

proptest! {
    #[test]
    fn merges_in_any_order_end_at_the_same_survivors(
        merges in merges(),
        seed in prop::collection::vec(any::<u32>(), 30),
    ) {
        let forward: Vec<usize> = (0..merges.len()).collect();
        let mut shuffled = forward.clone();
        shuffled.sort_by_key(|index| seed[*index]);
        // Some arrive twice.
        shuffled.extend(forward.iter().filter(|index| seed[**index] % 3 == 0));
        let here = standing(&told(&merges, &forward));
        let there = standing(&told(&merges, &shuffled));
        for row in ROWS {
            let end = ends(&here, row);
            prop_assert_eq!(&end, &ends(&there, row));
            // Who stands for a row stands for itself, and for whatever the row was merged into.
            prop_assert_eq!(&ends(&here, &end), &end);
            if let Some(into) = here.get(row) {
                prop_assert_eq!(&ends(&here, into), &end);
            }
        }
    }
}
