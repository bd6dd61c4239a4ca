use crate::store::WantedPolicy;
use crate::{Hub, HubConfig};
use counterfoil_domain::merge::Policy;
use counterfoil_replica::env::Env;
use counterfoil_testkit::TempDir;
use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use tokio::sync::oneshot;

#[tokio::test]
async fn an_edit_at_the_hub_does_not_wait_for_a_report() {
    let dir = TempDir::new("turn");
    let hub = Hub::open(HubConfig::new(dir.join("hub")), Env::system());
    let hub = hub.await.unwrap();
    let (started, begins) = oneshot::channel();
    let (end, ended) = mpsc::channel::<()>();
    let reader = Arc::clone(&hub);
    let report = tokio::spawn(async move {
        let work = move |_: &mut crate::store::Reader| {
            started.send(()).unwrap();
            ended.recv().unwrap();
        };
        reader.reports.call(work).await;
    });
    begins.await.unwrap();
    let who = || "Jo".to_owned();
    let columns = BTreeMap::from([("name".to_owned(), Some("Tea".to_owned()))]);
    let edited = hub.edit_catalog("products".to_owned(), "tea ".to_owned(), columns, who());
    assert_eq!(edited.await.unwrap().unwrap().row["id"], "TEA");
    let wanted = WantedPolicy {
        table: "products".to_owned(),
        columns: vec!["name".to_owned()],
        policy: Policy::Manual,
    };
    assert!(hub.set_policy(wanted, who()).await.unwrap().unwrap().0);
    end.send(()).unwrap();
    report.await.unwrap();
}
