//! Headers, tokens, codes, numbers and streams of events.

use counterfoil_domain::amount::{Quantity, UnitPrice, line_amount};
use counterfoil_domain::document::Tender;
use counterfoil_domain::ids::{DocumentId, NodeId};
use counterfoil_domain::merge::Stamp;
use counterfoil_domain::money::{Currency, parse_fixed};
use counterfoil_protocol::gate::Schemas;
use counterfoil_protocol::join::JoinCode;
use counterfoil_protocol::wire::database::DatabaseName;
use counterfoil_protocol::wire::events::EventReader;
use counterfoil_replica::Chain;
use std::fmt::{Debug, Display};
use std::str::FromStr;

/// The first byte cuts the stream of events in two; the text is what follows it.
pub(crate) fn run(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else {
        return;
    };
    events(bytes, usize::from(cut));
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    same_again::<Chain>(text);
    same_again::<JoinCode>(text);
    same_again::<DatabaseName>(text);
    same_again::<Stamp>(text);
    same_again::<NodeId>(text);
    same_again::<DocumentId>(text);
    if let Ok(currency) = text.parse::<Currency>() {
        assert_eq!(currency.as_str().parse::<Currency>().ok(), Some(currency));
    }
    text.parse::<Tender>().ok();
    if let Ok(name) = text.parse::<DatabaseName>() {
        let name = name.as_str();
        assert!(!name.contains(['/', '\\', '.', '%']), "{name} is a path");
    }
    if let Some(schemas) = Schemas::from_header(text) {
        assert_eq!(Schemas::from_header(&schemas.to_header()), Some(schemas));
    }
    for decimals in 0..8 {
        parse_fixed(text, decimals).ok();
    }
    if let Some((quantity, price)) = text.split_once(' ')
        && let (Ok(quantity), Ok(price)) = (Quantity::parse(quantity), UnitPrice::parse(price))
    {
        line_amount(quantity, price).ok();
    }
}

/// What is understood is written as something that means the same.
fn same_again<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let written = value.to_string();
        let again = written.parse::<T>().ok();
        assert_eq!(again, Some(value), "{text:?} is written as {written:?}");
    }
}

/// A stream means the same in whatever pieces it arrives.
fn events(bytes: &[u8], cut: usize) {
    let whole = EventReader::default().read(bytes);
    let (first, rest) = bytes.split_at(cut.min(bytes.len()));
    let mut reader = EventReader::default();
    let pieces = reader.read(first).and_then(|mut events| {
        events.extend(reader.read(rest)?);
        Ok(events)
    });
    assert_eq!(whole, pieces);
    for event in whole.unwrap_or_default() {
        let again = EventReader::default().read(event.to_text().as_bytes());
        assert_eq!(again, Ok(vec![event]));
    }
}
