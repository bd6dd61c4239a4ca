//! The stock Rust client as a program: one request a line on standard input, one answer a line on
//! standard output. `src/client.rs` is the other end.

use anyhow::Context as _;
use foreign_clients::client::Request;
use hyper_014::client::HttpConnector;
use libsql::{Builder, Connection, Database};
use serde_json::{Value, json};
use std::io::{BufRead as _, Write as _};

#[derive(Default)]
struct Client {
    open: Option<(Database, Connection)>,
}

impl Client {
    async fn answer(&mut self, request: Request) -> anyhow::Result<Value> {
        if let Request::Open { path, url, token } = request {
            let database = Builder::new_synced_database(path, url, token)
                .connector(HttpConnector::new())
                .build()
                .await?;
            let connection = database.connect()?;
            self.open = Some((database, connection));
            return Ok(Value::Null);
        }
        let (database, connection) = self.open.as_ref().context("nothing is open")?;
        match request {
            Request::Run { sql } => {
                connection.execute(&sql, ()).await?;
                Ok(Value::Null)
            }
            Request::Number { sql } => {
                let mut rows = connection.query(&sql, ()).await?;
                let row = rows.next().await?.context("no row")?;
                Ok(json!(row.get::<i64>(0)?))
            }
            Request::Sync | Request::Open { .. } => {
                database.sync().await?;
                Ok(Value::Null)
            }
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut client = Client::default();
    for line in std::io::stdin().lock().lines() {
        let request = serde_json::from_str(&line?)?;
        let answer = match client.answer(request).await {
            Ok(value) => json!({ "ok": value }),
            Err(error) => json!({ "error": format!("{error:#}") }),
        };
        writeln!(std::io::stdout(), "{answer}")?;
    }
    Ok(())
}
