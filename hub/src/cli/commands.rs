//! Every command but `run`.

use super::client::{Call, Target, call, segment};
use super::print::{self, Output};
use super::signed_in::Place;
use super::{CatalogCommand, CodeArgs, Command, Failure, NodeCommand, ReportCommand};
use super::{RunArgs, ShopCommand, access, database, quarantine};
use counterfoil_protocol::wire::access::{LOGIN_PATH, LOGOUT_PATH, LoggedIn, LoginRequest};
use counterfoil_protocol::wire::aliases::MergeAnswer;
use counterfoil_protocol::wire::hub::{
    CatalogExport, CatalogSetAnswer, CatalogSetRequest, HubStatus, JoinCodeRequest, MergeRequest,
    NodeRow, SalesGroup, ShopAddRequest, ShopAdded, ShopRow, UnmergeRequest,
};
use counterfoil_replica::env::Env;
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

pub(super) struct Session {
    target: Target,
    env: Env,
    out: Output,
}

impl Session {
    pub(super) async fn get<T: DeserializeOwned>(self, path: &str) -> Result<(T, Output), Failure> {
        Ok((self.fetch(path).await?, self.out))
    }

    /// One of several reads of a command.
    pub(super) async fn fetch<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let (path, body) = (format!("/v1/admin/{path}"), Vec::new());
        let request = Call {
            method: Method::GET,
            path,
            body,
            sets_up: false,
        };
        call(&self.target, &self.env, &request).await
    }

    pub(super) fn out(&self) -> Output {
        self.out
    }

    pub(super) async fn post<T: DeserializeOwned>(
        self,
        path: &str,
        body: &impl Serialize,
        sets_up: bool,
    ) -> Result<(T, Output), Failure> {
        let path = format!("/v1/admin/{path}");
        Ok((self.send(path, body, sets_up).await?, self.out))
    }

    async fn send<T: DeserializeOwned>(
        &self,
        path: String,
        body: &impl Serialize,
        sets_up: bool,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::from_chain(&error))?;
        let request = Call {
            method: Method::POST,
            path,
            body,
            sets_up,
        };
        call(&self.target, &self.env, &request).await
    }

    /// Where the session with the hub is kept.
    pub(super) fn signed_in(&self) -> Place {
        self.target.place.clone()
    }

    pub(super) async fn login(self, request: &LoginRequest) -> Result<(LoggedIn, Output), Failure> {
        let answer = self.send(LOGIN_PATH.to_owned(), request, false).await?;
        Ok((answer, self.out))
    }

    pub(super) async fn logout(self) -> Result<Output, Failure> {
        self.send::<Value>(LOGOUT_PATH.to_owned(), &Value::Null, false)
            .await?;
        Ok(self.out)
    }
}

pub(super) async fn execute(
    command: Command,
    target: Target,
    json: bool,
    env: Env,
) -> Result<(), Failure> {
    let session = Session {
        target,
        env,
        out: Output { json },
    };
    match command {
        Command::Shop(command) => shop(command, session).await,
        Command::Node(command) => node(command, session).await,
        Command::Catalog(command) => catalog(command, session).await,
        Command::Employees(command) => super::employees::execute(command, session).await,
        Command::Database(command) => database::execute(command, session).await,
        Command::Conflicts(command) => super::conflicts::execute(command, session).await,
        Command::Gate(command) => super::gate::execute(command, session).await,
        Command::Policy(command) => super::policies::execute(command, session).await,
        Command::Undo(args) => super::undo::undo(args, session).await,
        Command::Imports => super::undo::imports(session).await,
        Command::Audit { access, page } => super::conflicts::audit(access, page, session).await,
        Command::User(command) => access::user(command, session).await,
        Command::Session(command) => access::sessions(command, session).await,
        Command::Token(command) => access::token(command, session).await,
        Command::Login { name } => access::login(name, session).await,
        Command::Logout => access::logout(session).await,
        Command::Quarantine(command) => quarantine::execute(command, session).await,
        Command::Report(ReportCommand::Sales { by }) => {
            let path = format!("reports/sales?by={}", by.name());
            let (rows, out) = session.get::<Vec<SalesGroup>>(&path).await?;
            out.print(&rows, |rows| print::sales(by, rows))
        }
        Command::Proof { day } => super::proof::proof(day, session).await,
        Command::Stock(args) => super::stock::stock(args, session).await,
        Command::Relays => super::relays::relays(session).await,
        Command::Runs(args) => super::monitor::runs(args, session).await,
        Command::Alerts(command) => super::monitor::alerts(command, session).await,
        Command::History { which } => super::history::list(which, session).await,
        Command::Restore(args) => super::history::restore(args, session).await,
        Command::Status => {
            let (status, out) = session.get::<HubStatus>("status").await?;
            out.print(&status, print::status)
        }
        Command::Run(RunArgs { .. }) | Command::Openapi => {
            Err(Failure::usage("this is carried out elsewhere"))
        }
    }
}

async fn shop(command: ShopCommand, session: Session) -> Result<(), Failure> {
    match command {
        ShopCommand::Add { code } => {
            let CodeArgs {
                name,
                hub_url,
                valid_minutes,
            } = code;
            let request = ShopAddRequest {
                name,
                hub_url,
                valid_minutes,
                // A script that provisions may be run again.
                existing: true,
            };
            let (added, out) = session.post::<ShopAdded>("shops", &request, true).await?;
            out.print(&added, print::added)
        }
        ShopCommand::Join { code } => {
            let CodeArgs {
                name,
                hub_url,
                valid_minutes,
            } = code;
            let request = JoinCodeRequest {
                name,
                hub_url,
                valid_minutes,
            };
            let (added, out) = session
                .post::<ShopAdded>("join-codes", &request, false)
                .await?;
            out.print(&added, print::added)
        }
        ShopCommand::List => {
            let (rows, out) = session.get::<Vec<ShopRow>>("shops").await?;
            out.print(&rows, |rows| print::shops(rows))
        }
    }
}

async fn node(command: NodeCommand, session: Session) -> Result<(), Failure> {
    match command {
        NodeCommand::List => {
            let (rows, out) = session.get::<Vec<NodeRow>>("nodes").await?;
            out.print(&rows, |rows| print::nodes(rows))
        }
        NodeCommand::Revoke { id } => change_node(&id, "revoke", session).await,
        NodeCommand::RotateToken { id } => change_node(&id, "rotate-token", session).await,
    }
}

async fn change_node(id: &str, change: &str, session: Session) -> Result<(), Failure> {
    let path = format!("nodes/{}/{change}", segment(id));
    let (row, out) = session.post::<NodeRow>(&path, &Value::Null, false).await?;
    out.print(&row, |row| print::nodes(std::slice::from_ref(row)))
}

async fn catalog(command: CatalogCommand, session: Session) -> Result<(), Failure> {
    match command {
        CatalogCommand::Export { table } => {
            let path = format!("catalog/{}", segment(&table));
            let (table, out) = session.get::<CatalogExport>(&path).await?;
            if !out.json {
                return print::csv(&table);
            }
            let CatalogExport { columns, rows } = table;
            let object = |row: Vec<Value>| columns.iter().cloned().zip(row).collect();
            let rows: Vec<Map<String, Value>> = rows.into_iter().map(object).collect();
            out.print(&rows, |_| String::new())
        }
        CatalogCommand::Merge {
            table,
            id,
            into,
            who,
        } => {
            let path = format!("catalog/{}/{}/merge", segment(&table), segment(&id));
            let by = Some(who.by);
            let request = MergeRequest { into, by };
            let (answer, out) = session.post::<MergeAnswer>(&path, &request, false).await?;
            out.print(&answer, ToString::to_string)
        }
        CatalogCommand::Unmerge { table, id, who } => {
            let path = format!("catalog/{}/{}/unmerge", segment(&table), segment(&id));
            let request = UnmergeRequest { by: Some(who.by) };
            let (answer, out) = session.post::<MergeAnswer>(&path, &request, false).await?;
            out.print(&answer, ToString::to_string)
        }
        CatalogCommand::Set {
            table,
            id,
            columns,
            who,
        } => {
            let mut values = BTreeMap::new();
            for assignment in &columns {
                let Some((column, value)) = assignment.split_once('=') else {
                    let text = format!("`{assignment}` is not of the form COLUMN=VALUE");
                    return Err(Failure::usage(text));
                };
                let value = Some(value.to_owned()).filter(|value| !value.is_empty());
                values.insert(column.trim().to_owned(), value);
            }
            let path = format!("catalog/{}/{}", segment(&table), segment(&id));
            let request = CatalogSetRequest {
                columns: values,
                by: Some(who.by),
            };
            let (answer, out) = session
                .post::<CatalogSetAnswer>(&path, &request, true)
                .await?;
            out.print(&answer, print::row)
        }
    }
}
