//! The stock Rust client in a process of its own, against a hub in a process of its own and a
//! database that `database add` made. The program `foreign-clients` does the same in every language.

use counterfoil_replica::env::Env;
use counterfoil_replica::{BookReplica, OpenGate, Remote, Supersede};
use foreign_clients::client::Kind;
use foreign_clients::content::Reader;
use foreign_clients::hub::{Access, Hub};
use foreign_clients::scenarios::Scene;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

const HUB: &str = env!("CARGO_BIN_EXE_foreign-hub");

fn scene() -> Scene {
    let kind = Kind {
        name: "Rust",
        program: env!("CARGO_BIN_EXE_stock-client").into(),
        arguments: Vec::new(),
    };
    Scene::new(Path::new(HUB), &kind, &Reader::Engine).unwrap()
}

#[tokio::test]
async fn a_stock_client_syncs_with_a_database_and_a_second_one_bootstraps() {
    scene().syncs_and_bootstraps().await.unwrap();
}

#[tokio::test]
async fn stock_clients_in_sync_are_led_into_a_generation_that_the_operator_begins() {
    scene().follows_a_generation().await.unwrap();
}

/// Today's behaviour of the stock client; ours is the test at the end.
#[tokio::test]
async fn a_stock_client_with_frames_to_send_never_gets_over_a_generation() {
    scene().refused_with_a_stale_generation().await.unwrap();
}

#[tokio::test]
async fn a_second_stock_writer_is_told_and_loses_nothing() {
    scene().refused_as_a_second_writer().await.unwrap();
}

#[tokio::test]
async fn a_stock_reader_that_missed_a_generation_is_told_and_keeps_no_hole() {
    let scene = scene();
    let done = scene.fails_as_a_reader_that_missed_a_generation().await;
    done.unwrap();
}

#[tokio::test]
async fn a_stock_client_with_an_old_token_is_told() {
    scene().refused_without_the_token().unwrap();
}

#[tokio::test]
async fn a_stock_client_takes_a_hub_that_is_away_for_a_success() {
    let scene = scene();
    scene.does_not_notice_that_the_hub_is_away().await.unwrap();
}

#[tokio::test]
async fn our_own_client_with_frames_to_send_gets_over_a_generation() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(Path::new(HUB), &folder.path().join("hub")).unwrap();
    let access: Access = hub.command(&["database", "add", "notes"]).unwrap();
    let (env, path) = (Env::system(), folder.path().join("notes.db"));
    let replica = BookReplica::open(&path, Arc::clone(&env.files), env.execution).unwrap();
    let database = libsql::Builder::new_local(&path).build().await.unwrap();
    let connection = database.connect().unwrap();
    let table = "CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL)";
    connection.execute(table, ()).await.unwrap();
    let remote = Remote::new(&env.http(), &access.sync_url, Some(access.auth_token));
    for round in 1..=3 {
        for _ in 0..10 {
            let sql = "INSERT INTO note (text) VALUES (hex(randomblob(200)))";
            connection.execute(sql, ()).await.unwrap();
        }
        // Nothing was sent of these when the generation begins, and no flag is needed.
        let folded: Value = hub.command(&["database", "fold", "notes"]).unwrap();
        assert_eq!(folded["frames"] != 0, round > 1, "{folded}");
        let push = replica.push(&remote, &OpenGate, &|_| {}, Supersede::Never);
        push.await.unwrap();
        let copy = hub.copy().unwrap();
        Reader::Engine
            .same(&[&path, &copy], round * 10)
            .await
            .unwrap();
    }
    drop(connection);
}
