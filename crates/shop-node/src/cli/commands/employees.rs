//! Employees: signing in and out, PINs. Who is signed in stands in a file of the data directory that its owner alone can
//! read, so that the next command is theirs too. A PIN is never an argument: other people see those.

use super::catalog::encode;
use super::{ask, ask_with, mint};
use crate::cli::output;
use crate::cli::{Common, Failure};
use clap::{Args, Subcommand};
use counterfoil_domain::DocumentId;
use counterfoil_domain::employee::Permission;
use counterfoil_protocol::wire::employees::{
    APPROVAL_HEADER, ApprovalRequest, Approved, NoSaleRequest, PinRequest, PinSet, SESSION_HEADER,
    SignInRequest, SignedInEmployee, SignedOut,
};
use counterfoil_protocol::wire::node::Recorded;
use counterfoil_replica::env::Env;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The token of whoever is signed in.
const SESSION_FILE: &str = "employee-session";

#[derive(Args)]
pub(crate) struct SignInArgs {
    /// The employee: a catalog id.
    employee: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub(crate) struct NoSaleArgs {
    #[command(flatten)]
    common: Common,
    /// Who allows it with their PIN when whoever is signed in may not: a catalog id.
    #[arg(long, value_name = "EMPLOYEE")]
    approved_by: Option<String>,
    /// Id of the entry, to repeat a command without recording twice.
    #[arg(long)]
    id: Option<DocumentId>,
}

#[derive(Subcommand)]
pub(crate) enum EmployeeCommand {
    /// Set the PIN of an employee, 4 to 12 digits, which is asked for or read from standard input. It holds here at once, and
    /// everywhere after the next sync.
    Pin {
        /// The employee: a catalog id.
        employee: String,
        /// Take the PIN away.
        #[arg(long)]
        remove: bool,
        #[command(flatten)]
        common: Common,
    },
}

/// Reads a permission.
pub(crate) fn permission(text: &str) -> Result<Permission, String> {
    Permission::from_name(text).ok_or_else(|| {
        let names = Permission::ALL.map(Permission::name).join(", ");
        format!("a permission is one of {names}")
    })
}

/// Reads a PIN: from the terminal without showing it, or the first line of standard input.
fn read_pin(prompt: &str) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::failed(&error);
    let line = if io::stdin().is_terminal() {
        rpassword::prompt_password(format!("{prompt}: ")).map_err(failed)?
    } else {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map_err(failed)?;
        line
    };
    match line.trim() {
        "" => Err(Failure::usage(
            "no PIN was typed".to_owned(),
            "type it when asked, or give it as the first line of standard input",
        )),
        pin => Ok(pin.to_owned()),
    }
}

fn path_of(data: &Path) -> PathBuf {
    data.join(SESSION_FILE)
}

/// The headers with the session of whoever is signed in at this directory.
pub(crate) fn signed_in(mut headers: HeaderMap, data: &Path) -> Result<HeaderMap, Failure> {
    match std::fs::read_to_string(path_of(data)) {
        Ok(token) => {
            put(&mut headers, SESSION_HEADER, token.trim())?;
            Ok(headers)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(headers),
        Err(error) => Err(Failure::failed(&error)),
    }
}

fn put(headers: &mut HeaderMap, name: &'static str, token: &str) -> Result<(), Failure> {
    let value = HeaderValue::from_str(token).map_err(|error| Failure::failed(&error))?;
    headers.insert(HeaderName::from_static(name), value);
    Ok(())
}

fn keep(data: &Path, token: &str) -> io::Result<()> {
    let (path, beside) = (path_of(data), data.join(format!("{SESSION_FILE}.new")));
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // What a kill left there may be readable by others.
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(token.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, &path)?;
    File::open(data)?.sync_all()
}

/// Signs an employee in, in place of whoever was.
pub(crate) async fn sign_in(args: SignInArgs, env: Env) -> Result<(), Failure> {
    let SignInArgs { employee, common } = args;
    let pin = read_pin(&format!("PIN of {employee}"))?;
    let request = SignInRequest { employee, pin };
    let path = "/v1/sign-in";
    let answer: SignedInEmployee = ask(&common, env, Method::POST, path, Some(&request)).await?;
    keep(&common.data, &answer.session).map_err(|error| Failure::failed(&error))?;
    // The token stays in its file.
    let shown = json!({
        "employee": answer.employee, "name": answer.name, "permissions": answer.permissions,
        "idle_ms": answer.idle_ms, "expires_ms": answer.expires_ms,
    });
    output::show(common.json, &shown, |_| {
        let names = answer.permissions.iter().map(|it| it.name());
        let names = names.collect::<Vec<_>>().join(", ");
        match names.as_str() {
            "" => format!("{} is signed in", answer.name),
            names => format!("{} is signed in, and may: {names}", answer.name),
        }
    })
}

/// Signs out whoever is signed in.
pub(crate) async fn sign_out(common: &Common, env: Env) -> Result<(), Failure> {
    let answer = ask::<(), SignedOut>(common, env, Method::POST, "/v1/sign-out", None).await?;
    match std::fs::remove_file(path_of(&common.data)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Failure::failed(&error));
        }
        _ => {}
    }
    output::show(common.json, &answer, |answer| match answer.ended {
        true => "signed out".to_owned(),
        false => "nobody was signed in".to_owned(),
    })
}

/// Somebody allows one thing with their PIN; the headers that say so.
pub(crate) async fn approved(
    common: &Common,
    env: Env,
    by: &str,
    permission: Permission,
) -> Result<HeaderMap, Failure> {
    let request = ApprovalRequest {
        employee: by.to_owned(),
        pin: read_pin(&format!("PIN of {by}, who allows {permission}"))?,
        permission,
    };
    let path = "/v1/approvals";
    let answer: Approved = ask(common, env, Method::POST, path, Some(&request)).await?;
    let mut headers = HeaderMap::new();
    put(&mut headers, APPROVAL_HEADER, &answer.approval)?;
    Ok(headers)
}

/// The drawer is opened without a sale.
pub(crate) async fn no_sale(args: NoSaleArgs, env: Env) -> Result<(), Failure> {
    let common = &args.common;
    let headers = match &args.approved_by {
        Some(by) => approved(common, env.clone(), by, Permission::NoSale).await?,
        None => HeaderMap::new(),
    };
    let id = Some(args.id.unwrap_or_else(|| mint(&env)));
    let (path, request) = ("/v1/no-sale", NoSaleRequest { id });
    let answer: Recorded =
        ask_with(headers, common, env, Method::POST, path, Some(&request)).await?;
    output::show(common.json, &answer, |answer| {
        format!("no sale recorded ({})", answer.id)
    })
}

pub(crate) async fn employee(command: EmployeeCommand, env: Env) -> Result<(), Failure> {
    let EmployeeCommand::Pin {
        employee,
        remove,
        common,
    } = command;
    let pin = match remove {
        true => None,
        false => Some(new_pin(&employee)?),
    };
    let request = PinRequest { pin, by: None };
    let path = format!("/v1/employees/{}/pin", encode(&employee));
    let headers = HeaderMap::new();
    let answer: PinSet =
        ask_with(headers, &common, env, Method::PUT, &path, Some(&request)).await?;
    output::show(common.json, &answer, |answer| match answer.pin {
        true => format!("employee {} has a PIN now", answer.employee),
        false => format!("employee {} has no PIN", answer.employee),
    })
}

/// A new PIN: typed twice on a terminal.
fn new_pin(employee: &str) -> Result<String, Failure> {
    let pin = read_pin(&format!("New PIN for {employee}"))?;
    if io::stdin().is_terminal() && read_pin("Again")? != pin {
        return Err(Failure::usage(
            "the two differ".to_owned(),
            "run the command again",
        ));
    }
    Ok(pin)
}
