//! For whom did a row hold, and when?
//!
//! A row that holds for one shop is changed by that shop and the hub alone. Who came first is told by places, as
//! everything else in a merge: each claim, and each other version, is judged by whom the row held for at its place. So
//! hubs that hold the same versions come to the same owner, whatever arrived first.

use super::{Field, Place, Stamp};
use crate::edit::Scalar;
use crate::ids::ShopId;
use std::collections::{BTreeMap, BTreeSet};

/// For whom a row held, from which place on.
struct Ownership(BTreeMap<Place, Option<ShopId>>);

impl Ownership {
    fn of(claims: &Field, admitted: &BTreeSet<Stamp>) -> Self {
        let places: BTreeSet<Place> = claims.places().into_values().collect();
        let mut held = Self(BTreeMap::new());
        for place in places {
            let Some(claim) = claims.version(&place.stamp) else {
                continue;
            };
            if claims.is_undone(&place.stamp) {
                continue;
            }
            if admitted.contains(&place.stamp) || held.admits(&place, claim.origin.shop) {
                let owner = match &claim.value {
                    Scalar::Text(shop) => shop.parse().ok(),
                    Scalar::Null | Scalar::Integer(_) => None,
                };
                held.0.insert(place, owner);
            }
        }
        held
    }

    /// Whether somebody may write at a place; the hub may always.
    fn admits(&self, place: &Place, writer: Option<ShopId>) -> bool {
        let held = self.0.range(..=*place).next_back();
        let owner = held.and_then(|(_, owner)| *owner);
        writer.is_none() || owner.is_none() || owner == writer
    }
}

/// The versions of a row that do not count, by column, because the row held for another shop than their
/// writer's. `owner` is the column that says for whom it holds; `admitted` count all the same.
pub fn of_others(
    fields: &BTreeMap<String, Field>,
    owner: &str,
    admitted: &BTreeSet<Stamp>,
) -> BTreeMap<String, BTreeSet<Stamp>> {
    let mut others: BTreeMap<String, BTreeSet<Stamp>> = BTreeMap::new();
    let Some(claims) = fields.get(owner) else {
        return others;
    };
    let held = Ownership::of(claims, admitted);
    for (column, field) in fields {
        for (stamp, place) in field.places() {
            let writer = field.version(&stamp).and_then(|held| held.origin.shop);
            let counts = match column == owner && !field.is_undone(&stamp) {
                true => held.0.contains_key(&place),
                false => admitted.contains(&stamp) || held.admits(&place, writer),
            };
            if !counts {
                others.entry(column.clone()).or_default().insert(stamp);
            }
        }
    }
    others
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit::OWNER;
    use crate::hlc::Hlc;
    use crate::ids::{DocumentId, NodeId};
    use crate::merge::{Origin, Version};
    use uuid::Uuid;

    fn shop(number: u128) -> ShopId {
        ShopId::from_uuid(Uuid::from_u128(number))
    }

    /// A version of shop 1, 2 ... or the hub (0), at a time.
    fn version(writer: u128, at_ms: i64, value: Scalar) -> (Stamp, Version) {
        let node = NodeId::from_uuid(Uuid::from_u128(writer));
        let hlc = Hlc::at_millis(at_ms);
        let held = Version {
            value,
            base: BTreeSet::new(),
            corrected: hlc,
            origin: Origin {
                edit: DocumentId::from_uuid(Uuid::from_u128(writer)),
                node,
                shop: (writer != 0).then(|| shop(writer)),
                imported: false,
            },
        };
        (Stamp::new(hlc, node), held)
    }

    fn row(versions: &[(&str, (Stamp, Version))]) -> BTreeMap<String, Field> {
        let mut fields: BTreeMap<String, Field> = BTreeMap::new();
        for (column, (stamp, version)) in versions {
            let field = fields.entry((*column).to_owned()).or_default();
            field.insert(*stamp, version.clone());
        }
        fields
    }

    fn claim(writer: u128, at_ms: i64) -> (&'static str, (Stamp, Version)) {
        let value = Scalar::Text(shop(writer).to_string());
        (OWNER, version(writer, at_ms, value))
    }

    fn price(writer: u128, at_ms: i64) -> (&'static str, (Stamp, Version)) {
        (
            "price_mills",
            version(writer, at_ms, Scalar::Integer(at_ms)),
        )
    }

    #[test]
    fn the_earlier_claim_holds_and_what_the_other_shop_wrote_since_does_not_count() {
        let written = [
            claim(2, 20),
            price(2, 21),
            claim(1, 10),
            price(1, 30),
            price(2, 5),
        ];
        let others = of_others(&row(&written), OWNER, &BTreeSet::new());
        let [second, late, ..] = &written;
        let expected = BTreeMap::from([
            (OWNER.to_owned(), BTreeSet::from([second.1.0])),
            ("price_mills".to_owned(), BTreeSet::from([late.1.0])),
        ]);
        assert_eq!(others, expected);
        // Whoever was let in by a person counts.
        let admitted = BTreeSet::from([late.1.0]);
        let others = of_others(&row(&written), OWNER, &admitted);
        assert_eq!(others.keys().collect::<Vec<_>>(), [OWNER]);
    }

    #[test]
    fn a_row_that_is_given_up_or_handed_over_by_the_hub_is_the_next_ones() {
        let given_up = (OWNER, version(1, 20, Scalar::Null));
        let written = [
            claim(1, 10),
            given_up,
            price(2, 30),
            claim(2, 40),
            price(1, 50),
        ];
        let others = of_others(&row(&written), OWNER, &BTreeSet::new());
        assert_eq!(others["price_mills"], BTreeSet::from([written[4].1.0]));
        let handed = (OWNER, version(0, 20, Scalar::Text(shop(2).to_string())));
        let written = [
            claim(1, 10),
            price(1, 11),
            handed,
            price(2, 30),
            price(1, 40),
        ];
        let others = of_others(&row(&written), OWNER, &BTreeSet::new());
        assert_eq!(others["price_mills"], BTreeSet::from([written[4].1.0]));
        assert_eq!(others.len(), 1);
        // A claim that was taken back was never made, and who came after it has the row.
        let mut written = row(&[claim(1, 10), price(1, 11), claim(2, 20), price(2, 21)]);
        let (first, _) = claim(1, 10).1;
        written.get_mut(OWNER).expect("claims").undo(first);
        assert!(of_others(&written, OWNER, &BTreeSet::new()).is_empty());
        written.insert(
            "note".to_owned(),
            row(&[price(1, 22)])["price_mills"].clone(),
        );
        let others = of_others(&written, OWNER, &BTreeSet::new());
        assert_eq!(others.keys().collect::<Vec<_>>(), ["note"]);
        // A row that holds for all is everybody's.
        assert!(of_others(&row(&[price(1, 1), price(2, 2)]), OWNER, &BTreeSet::new()).is_empty());
    }
}
