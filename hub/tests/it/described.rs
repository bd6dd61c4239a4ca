//! What is answered is what the description of the API says.

use crate::hub::{Client, TestHub, parse, problem};
use crate::till::Till;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::hub::{SalesGroup, book_path};
use counterfoil_protocol::wire::replication::Info;
use counterfoil_replica::env::HttpResponse;
use serde_json::Value;

/// The schema of an answer with this status and of this media type.
fn schema<'a>(api: &'a Value, (path, status, media): (&str, &str, &str)) -> &'a Value {
    let answers = &api["paths"][path]["get"]["responses"];
    let found = &answers[status]["content"][media]["schema"];
    let reference = &found["$ref"];
    assert!(reference.is_string(), "{path} {status} {media}: {answers}");
    let pointer = reference.as_str().unwrap();
    api.pointer(pointer.trim_start_matches('#')).unwrap()
}

/// An answer has the status, the media type and the members that are described.
fn check(api: &Value, (path, status): (&str, u16), answer: &HttpResponse) {
    assert_eq!(answer.status.as_u16(), status, "{path}");
    let media = answer.headers["content-type"].to_str().unwrap();
    let described = schema(api, (path, &status.to_string(), media));
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let known = described["properties"].as_object().unwrap();
    for name in body.as_object().unwrap().keys() {
        assert!(known.contains_key(name), "{path} {status} has {name}");
    }
    for name in described["required"].as_array().unwrap() {
        let name = name.as_str().unwrap();
        assert!(!body[name].is_null(), "{path} {status} has no {name}");
    }
}

async fn description(client: &Client) -> Value {
    parse(&client.get("/v1/openapi.json", None).await)
}

#[tokio::test]
async fn the_end_of_a_generation_is_answered_as_it_is_described() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let api = description(&client).await;
    let mut till = Till::of(&client, "Leith", 1).await;
    till.sell(1);
    till.push(&client).await.unwrap();
    client.settle().await;
    let bases = [
        (book_path(till.id), "/v1/db/book/{node}"),
        ("/v1/db/catalog".to_owned(), "/v1/db/catalog"),
    ];
    for (base, described) in bases {
        let token = Some(till.token.as_str());
        let info: Info = parse(&client.get(&format!("{base}/info"), token).await);
        let (generation, next) = (info.current_generation, info.committed_frame_no + 1);
        // Nothing new: a stock client takes that for the end, and reads which generation is current.
        let path = format!("{base}/sync/{generation}/{next}/{}", next + 10);
        let answer = client.get(&path, token).await;
        let pull = format!("{described}/sync/{{generation}}/{{start}}/{{end}}");
        check(&api, (&pull, 400), &answer);
        for (path, template) in [
            (format!("{base}/sync/999/1/2"), pull.clone()),
            (
                format!("{base}/export/999"),
                format!("{described}/export/{{generation}}"),
            ),
            (
                format!("{base}/export/999/1/2"),
                format!("{described}/export/{{generation}}/{{start}}/{{end}}"),
            ),
        ] {
            check(&api, (&template, 410), &client.get(&path, token).await);
        }
    }
    let pages = format!("{}/pages/999/1", book_path(till.id));
    let answer = client.get(&pages, Some(&till.token)).await;
    check(
        &api,
        ("/v1/db/book/{node}/pages/{generation}/{frame}", 410),
        &answer,
    );
}

#[tokio::test]
async fn sales_are_summed_by_whatever_the_description_lists_and_nothing_else() {
    let hub = TestHub::start().await;
    let client = hub.client();
    let api = description(&client).await;
    let mut till = Till::of(&client, "Leith", 1).await;
    till.sell(2);
    till.push(&client).await.unwrap();
    client.settle().await;
    let by = &api["paths"]["/v1/admin/reports/sales"]["get"]["parameters"][0];
    assert_eq!((&by["name"], &by["required"]), (&"by".into(), &true.into()));
    let listed: Vec<&str> = by["schema"]["enum"]
        .as_array()
        .unwrap_or_else(|| panic!("{by}"))
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    assert_eq!(listed, ["shop", "node", "day", "customer", "product"]);
    for name in listed {
        let path = format!("reports/sales?by={name}");
        let groups: Vec<SalesGroup> = client.admin_get(&path).await;
        assert!(!groups.is_empty(), "{name}");
    }
    for query in ["", "?by=week", "?by=day&to=now"] {
        let path = format!("/v1/admin/reports/sales{query}");
        let refused = problem(&client.get(&path, Some(&client.admin)).await);
        assert_eq!(refused.code, Code::BadRequest, "{query}");
    }
}
