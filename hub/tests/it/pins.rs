//! PINs of employees at the hub: only a hash is taken, and neither is shown.

use crate::hub::{TestHub, parse, problem};
use crate::till::Till;
use counterfoil_domain::Scalar;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::employees::{EmployeeEventRow, PinSet};
use counterfoil_protocol::wire::hub::CatalogExport;
use counterfoil_protocol::wire::quarantine::{QuarantineDetail, QuarantineRow};
use serde_json::json;

#[tokio::test]
async fn a_till_writes_no_pin_in_the_clear_into_the_catalog_and_it_is_not_shown() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let mut till = Till::of(&client, "Leith", 1).await;
    let text = |text: &str| Scalar::Text(text.to_owned());
    till.edit_in("employees", "ANN", ("name", text("Ann")), &[]);
    till.edit_in("employees", "ANN", ("pin", text("774411982735")), &[]);
    // A hash that would take all memory there is.
    let dear = "$argon2id$v=19$m=4194304,t=9,p=1$AAAAAAAAAAAAAAAAAAAAAA$\
                AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    till.edit_in("employees", "ANN", ("pin", text(dear)), &[]);
    till.push(&client).await.unwrap();
    assert_eq!(client.settle().await.quarantined, 2);
    let rows: Vec<QuarantineRow> = client.admin_get("quarantine").await;
    for row in rows {
        assert_eq!(row.code, "column_value_wrong");
        let path = format!("quarantine/{}/{}", row.node_id, row.seq);
        let detail: QuarantineDetail = client.admin_get(&path).await;
        let shown = format!("{}", json!(detail));
        assert!(
            !shown.contains("774411982735") && !shown.contains("argon2"),
            "{shown}"
        );
        assert!(shown.contains(r#"\"pin\":\"set\""#), "{shown}");
        // Nobody makes a hash of it by hand.
        let path = format!("/v1/admin/{path}/fix");
        let fix = json!({"who": "Ann", "why": "typed", "changes": {"column.pin": "774411982735"}});
        let refused = client.post(&path, Some(&client.admin), &fix).await;
        assert_eq!(problem(&refused).code, Code::Invalid);
        assert!(!format!("{refused:?}").contains("774411982735"));
    }
    let table: CatalogExport = client.admin_get("catalog/employees").await;
    let pin = table.columns.iter().position(|name| name == "pin").unwrap();
    assert_eq!(table.rows[0][pin], json!(null));
}

#[tokio::test]
async fn a_pin_is_set_for_those_who_are_there_and_a_weak_one_is_refused() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let set = async |employee: &str, pin: &str| {
        let path = format!("/v1/admin/employees/{employee}/pin");
        client
            .post(&path, Some(&client.admin), &json!({"pin": pin}))
            .await
    };
    assert_eq!(problem(&set("ANN", "4711").await).code, Code::NotFound);
    let columns = json!({"columns": {"name": "Ann", "permissions": "refund, discount"}});
    let added: serde_json::Value = client.admin_post("catalog/employees/ANN", &columns).await;
    assert_eq!(added["row"]["permissions"], "discount,refund");
    for weak in ["1234", "471", "47a1"] {
        assert_eq!(problem(&set("ANN", weak).await).code, Code::Invalid);
    }
    let set: PinSet = parse(&set("ANN", "4711").await);
    assert!(set.pin);
    let wrong = json!({"columns": {"permissions": "everything"}});
    let refused = client.post(
        "/v1/admin/catalog/employees/ANN",
        Some(&client.admin),
        &wrong,
    );
    assert_eq!(problem(&refused.await).code, Code::Invalid);
    let table: CatalogExport = client.admin_get("catalog/employees").await;
    let pin = table.columns.iter().position(|name| name == "pin").unwrap();
    assert_eq!(table.rows[0][pin], "set");
    let events: Vec<EmployeeEventRow> = client.admin_get("employee-events").await;
    assert_eq!(events, []);
}
