//! `user`, `session`, `token`, `login`, `logout`, `audit --access`.

use super::Failure;
use super::client::segment;
use super::commands::Session;
use super::print::{optional, table, time};
use super::signed_in::SignedIn;
use clap::{Args, Subcommand};
use counterfoil_protocol::wire::access::{
    AccessLogRow, LoggedIn, LoginRequest, MachineRow, Role, SessionRow, TokenAddRequest,
    TokenAdded, UserAddRequest, UserPasswordRequest, UserRow,
};
use serde_json::Value;
use std::io::{self, BufRead as _, IsTerminal as _};

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Adds a person; the password is asked for, or read from standard input.
    Add {
        /// Unique name: small letters and digits, `.`, `-`, `_`, `@`.
        name: String,
        #[command(flatten)]
        role: RoleArgs,
    },
    /// Lists people: role, shop, last call.
    List,
    /// Takes a person's access back and ends their sessions.
    Disable {
        /// Name of the person.
        name: String,
    },
    /// Sets a person's password, which ends their sessions and lets a disabled one in again.
    Password {
        /// Name of the person.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// Lists who is signed in.
    List,
    /// Ends a session.
    Revoke {
        /// Number of the session, see `session list`.
        number: i64,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Makes a token for a program and prints it once.
    Add {
        /// Unique name: small letters and digits, `.`, `-`, `_`, `@`.
        name: String,
        #[command(flatten)]
        role: RoleArgs,
        /// How long it holds, in days; 90 unless given.
        #[arg(long, value_name = "DAYS")]
        days: Option<i64>,
    },
    /// Lists the tokens: role, shop, last call, end.
    List,
    /// Takes a token back.
    Revoke {
        /// Name of the token.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct RoleArgs {
    /// `owner` may everything, `shop_manager` sees and decides what is of one shop, `support` reads everything but
    /// secrets.
    #[arg(long, value_parser = parse_role)]
    role: Role,
    /// The shop of a shop manager, by name or id.
    #[arg(long, value_name = "SHOP", required_if_eq("role", "shop_manager"))]
    shop: Option<String>,
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::from_name(text).ok_or_else(|| {
        let names = Role::ALL.map(Role::name).join(", ");
        format!("a role is one of {names}")
    })
}

/// Reads a password: from the terminal without showing it, or the first line of standard input.
fn read_password(prompt: &str) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::from_chain(&error);
    let mut line = if io::stdin().is_terminal() {
        rpassword::prompt_password(format!("{prompt}: ")).map_err(failed)?
    } else {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map_err(failed)?;
        line
    };
    let text = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(text);
    if line.is_empty() {
        return Err(Failure::usage("nothing was typed")
            .hint("type it when asked, or give it as the first line of standard input"));
    }
    Ok(line)
}

/// A new password: typed twice on a terminal.
fn new_password(name: &str) -> Result<String, Failure> {
    typed_twice(&format!("New password for {name}"))
}

/// A new secret: typed twice on a terminal.
pub(super) fn typed_twice(prompt: &str) -> Result<String, Failure> {
    let typed = read_password(prompt)?;
    if io::stdin().is_terminal() && read_password("Again")? != typed {
        return Err(Failure::usage("the two differ"));
    }
    Ok(typed)
}

pub(super) async fn user(command: UserCommand, session: Session) -> Result<(), Failure> {
    let (row, out) = match command {
        UserCommand::List => {
            let (rows, out) = session.get::<Vec<UserRow>>("users").await?;
            return out.print(&rows, |rows| users(rows));
        }
        UserCommand::Add { name, role } => {
            let password = new_password(&name)?;
            let request = UserAddRequest {
                name,
                role: role.role,
                shop: role.shop,
                password,
            };
            session.post::<UserRow>("users", &request, true).await?
        }
        UserCommand::Disable { name } => {
            let path = format!("users/{}/disable", segment(&name));
            session.post(&path, &Value::Null, false).await?
        }
        UserCommand::Password { name } => {
            let path = format!("users/{}/password", segment(&name));
            let password = new_password(&name)?;
            let request = UserPasswordRequest { password };
            session.post(&path, &request, false).await?
        }
    };
    out.print(&row, |row| users(std::slice::from_ref(row)))
}

fn users(rows: &[UserRow]) -> String {
    let rows = rows.iter().map(|row| {
        vec![
            row.name.clone(),
            row.role.name().to_owned(),
            optional(row.shop.as_ref()),
            if row.disabled { "disabled" } else { "active" }.to_owned(),
            time(row.created_ms),
            optional(row.seen_ms.map(time).as_ref()),
        ]
    });
    let header = ["name", "role", "shop", "state", "added", "last call"];
    table(&header, &[], rows.collect())
}

pub(super) async fn sessions(command: SessionCommand, session: Session) -> Result<(), Failure> {
    match command {
        SessionCommand::List => {
            let (rows, out) = session.get::<Vec<SessionRow>>("sessions").await?;
            out.print(&rows, |rows| {
                let rows = rows.iter().map(|row| {
                    let SessionRow { number, user, .. } = row;
                    let times = [row.created_ms, row.seen_ms, row.expires_ms].map(time);
                    [vec![number.to_string(), user.clone()], times.to_vec()].concat()
                });
                let header = ["no", "name", "since", "last call", "ends"];
                table(&header, &[0], rows.collect())
            })
        }
        SessionCommand::Revoke { number } => {
            let path = format!("sessions/{number}/revoke");
            let (answer, out) = session.post::<Value>(&path, &Value::Null, false).await?;
            out.print(&answer, |_| format!("session {number} has ended"))
        }
    }
}

pub(super) async fn token(command: TokenCommand, session: Session) -> Result<(), Failure> {
    match command {
        TokenCommand::Add { name, role, days } => {
            let RoleArgs { role, shop } = role;
            let request = TokenAddRequest {
                name,
                role,
                shop,
                days,
            };
            let (added, out) = session.post::<TokenAdded>("tokens", &request, true).await?;
            out.print(&added, |added| {
                let (token, ends) = (&added.token, time(added.expires_ms));
                format!("token  {token}\nends   {ends}\n\nThe token is not shown again.")
            })
        }
        TokenCommand::List => {
            let (rows, out) = session.get::<Vec<MachineRow>>("tokens").await?;
            out.print(&rows, |rows| machines(rows))
        }
        TokenCommand::Revoke { name } => {
            let path = format!("tokens/{}/revoke", segment(&name));
            let (row, out) = session
                .post::<MachineRow>(&path, &Value::Null, false)
                .await?;
            out.print(&row, |row| machines(std::slice::from_ref(row)))
        }
    }
}

fn machines(rows: &[MachineRow]) -> String {
    let rows = rows.iter().map(|row| {
        vec![
            row.name.clone(),
            row.role.name().to_owned(),
            optional(row.shop.as_ref()),
            if row.revoked { "revoked" } else { "active" }.to_owned(),
            time(row.created_ms),
            optional(row.seen_ms.map(time).as_ref()),
            time(row.expires_ms),
        ]
    });
    let header = ["name", "role", "shop", "state", "made", "last call", "ends"];
    table(&header, &[], rows.collect())
}

pub(super) async fn login(name: String, session: Session) -> Result<(), Failure> {
    let password = read_password(&format!("Password of {name}"))?;
    let request = LoginRequest { name, password };
    let place = session.signed_in();
    let (answer, out) = session.login(&request).await?;
    let LoggedIn {
        token,
        name,
        role,
        expires_ms,
    } = answer;
    let kept = SignedIn {
        token,
        name,
        expires_ms,
    };
    place.keep(&kept)?;
    let told = serde_json::json!({"name": kept.name, "role": role, "expires_ms": expires_ms});
    out.print(&told, |_| {
        format!(
            "signed in as {}, {}, until {}",
            kept.name,
            role.name(),
            time(expires_ms)
        )
    })
}

pub(super) async fn logout(session: Session) -> Result<(), Failure> {
    let place = session.signed_in();
    let Some(kept) = place.kept()? else {
        return Err(Failure::failed("nobody is signed in here"));
    };
    let ended = session.logout().await;
    // Signed out here in any case; a session that the hub could not be told of ends by itself.
    place.forget()?;
    let out = ended?;
    let told = serde_json::json!({"name": kept.name});
    out.print(&told, |_| format!("{} is signed out", kept.name))
}

pub(super) fn access_log(rows: &[AccessLogRow]) -> String {
    let rows = rows.iter().map(|row| {
        vec![
            row.id.to_string(),
            time(row.at_ms),
            row.who.clone(),
            row.what.clone(),
            row.outcome.clone(),
            row.times.to_string(),
        ]
    });
    let header = ["no", "when", "who", "what", "outcome", "times"];
    table(&header, &[0, 5], rows.collect())
}
