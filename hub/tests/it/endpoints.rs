use crate::hub::{TestHub, problem};
use crate::till::Till;
use counterfoil_hub::endpoint_table;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::access::{EndpointRow, Reach};
use serde_json::Value;
use std::collections::BTreeSet;

/// An address of an endpoint, with something for every name in it.
fn address(row: &EndpointRow) -> String {
    let filled = row.path.split('/').map(|part| match part {
        "{node}" => "01890000-0000-7000-8000-000000000001",
        "{table}" => "products",
        part if part.starts_with('{') => "1",
        part => part,
    });
    filled.collect::<Vec<_>>().join("/")
}

#[test]
fn every_endpoint_stands_in_the_table_once_and_somebody_may_call_it() {
    let rows = endpoint_table();
    let named: BTreeSet<_> = rows.iter().map(|row| (&row.method, &row.path)).collect();
    assert_eq!(named.len(), rows.len());
    for row in &rows {
        let for_people = row.owner != Reach::Nothing;
        let ways = [row.anyone, row.till, for_people];
        let ways = ways.into_iter().filter(|way| *way).count();
        assert_eq!(ways, 1, "{row:?}");
        if for_people {
            assert_eq!(row.owner, Reach::Everything, "{row:?}");
        } else {
            assert_eq!(
                (row.shop_manager, row.support),
                (Reach::Nothing, Reach::Nothing)
            );
        }
        let asks_only = row.path.ends_with("/rehearse");
        if row.method == "POST" && row.path.starts_with("/v1/admin/") && !asks_only {
            assert_eq!(
                row.support,
                Reach::Nothing,
                "support decides nothing: {row:?}"
            );
        }
    }
}

#[tokio::test]
async fn no_endpoint_answers_a_caller_with_another_kind_of_credential() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let till = Till::of(&client, "A", 1).await;
    for row in endpoint_table() {
        if row.anyone {
            continue;
        }
        let wrong = match row.till {
            true => client.admin.as_str(),
            false => till.token.as_str(),
        };
        for token in [None, Some("nobody's"), Some(wrong)] {
            let path = address(&row);
            let answer = match row.method.as_str() {
                "GET" => client.get(&path, token).await,
                _ => client.post(&path, token, &Value::Null).await,
            };
            let refused = problem(&answer);
            assert_eq!(refused.code, Code::Unauthorized, "{row:?} {token:?}");
        }
    }
}
