//! Several columns get one policy in one decision.

use crate::hub::{TestHub, problem};
use crate::policies::{rehearse, set, text};
use crate::till::Till;
use counterfoil_domain::merge::Policy;
use counterfoil_migrate::Connection;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::policies::{PolicyRow, grouped};
use serde_json::json;

#[tokio::test]
async fn a_group_of_columns_changes_in_one_decision() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut tills = [
        Till::of(&client, "A", 1).await,
        Till::of(&client, "B", 2).await,
    ];
    tills[1].sell(1);
    for (till, value) in tills.iter_mut().zip(["one", "two"]) {
        for column in ["name", "phone", "email", "address"] {
            till.edit_in("customers", "C1", (column, text(value)), &[]);
        }
        till.push(&client).await.unwrap();
    }
    let before = client.settle().await;
    // One that cannot be keeps all of them as they are.
    for field in [
        "customers/phone,colour",
        "customers/phone,",
        "products/name,price_mills",
    ] {
        for (call, body) in [
            (field.to_owned(), json!({"policy": "shop_wins"})),
            (
                format!("{field}/rehearse"),
                json!({"policy": "shop_wins", "days": 3_000}),
            ),
        ] {
            let path = format!("/v1/admin/policies/{call}");
            let answer = client.post(&path, Some(&client.admin), &body).await;
            assert_eq!(problem(&answer).code, Code::Invalid, "{call}");
        }
    }
    assert_eq!(client.decisions().await, []);
    let found = rehearse(
        &client,
        "customers/phone,email,address",
        Policy::Manual,
        3_000,
    )
    .await;
    assert_eq!((found.fields, found.different), (3, 3));
    assert_eq!(found.column, "phone,email,address");
    // Those of the rest that are named are counted once.
    let found = rehearse(&client, "customers/*,phone", Policy::Manual, 3_000).await;
    assert_eq!((found.fields, found.different), (4, 4));
    set(&client, "customers/email", Policy::ShopWins).await;

    let group = "customers/phone,%20email,address,phone";
    let done = set(&client, group, Policy::ShopWins).await;
    assert_eq!(
        (done.column.as_str(), done.changed),
        ("phone,email,address", true)
    );
    assert_eq!(done.revision, before.catalog_revision + 2);
    let again = set(&client, group, Policy::ShopWins).await;
    assert_eq!((again.changed, again.revision), (false, done.revision));
    let trail = client.decisions().await;
    let [_, made] = trail.as_slice() else {
        panic!("{trail:?}")
    };
    assert_eq!(made.subject, "customers phone,email,address");
    let was =
        json!({"phone": "last_writer_wins", "email": "shop_wins", "address": "last_writer_wins"});
    assert_eq!((&made.before, &made.after), (&was, &json!("shop_wins")));
    // What changed has one moment; what was so already has its own.
    let rows: Vec<PolicyRow> = client.admin_get("policies").await;
    let since = |column: &str| {
        let found = |row: &&PolicyRow| row.table == "customers" && row.column == column;
        let row = rows.iter().find(found).unwrap();
        assert_eq!(row.policy, Policy::ShopWins);
        row.since_ms
    };
    assert!(since("phone").is_some() && since("phone") == since("address"));
    let shown = grouped(rows.clone());
    let shown = shown.iter().filter(|row| row.table == "customers");
    let shown: Vec<_> = shown.map(|row| row.column.as_str()).collect();
    let one_moment = since("email") == since("phone");
    let expected = match one_moment {
        true => vec!["*", "address,email,phone", "credit_limit_minor"],
        false => vec!["*", "address,phone", "credit_limit_minor", "email"],
    };
    assert_eq!(shown, expected);
    let sql = "SELECT count(DISTINCT hlc) || ' ' || count(*) FROM policy_change
               WHERE table_name = 'customers' AND column_name IN ('phone', 'address')";
    let db = Connection::open_read_only(hub.dir.join("hub.db")).unwrap();
    assert_eq!(db.query_value::<String>(sql, ()).unwrap(), "1 2");
}
