//! People: signing in and out, and the owner's calls about who may.

use super::ApiError;
use super::access::{ANYONE, OWNER, READ_CHAIN, SIGNED_IN};
use super::bodies::read_json;
use super::caller::Caller;
use super::calls::Calls;
use super::sync::Segments;
use crate::hub::Hub;
use crate::limits::{ACCOUNT_CHARS_MAX, PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN};
use crate::secrets;
use crate::store::{Account, NewSession, NewUser, PasswordChange};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use counterfoil_domain::{ShopId, password as hashes};
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::access::{
    LoggedIn, LoginRequest, PasswordRequest, Role, SessionRow, UserAddRequest, UserPasswordRequest,
    UserRow, WhoAnswer,
};
use http::HeaderMap;
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa_axum::routes;

type Hubs = State<Arc<Hub>>;
type Answer<T> = Result<Json<T>, ApiError>;

const SIGN_IN: &str = "sign in";

pub(super) fn calls() -> Calls {
    Calls::new()
        .add(ANYONE, routes!(login))
        .add(SIGNED_IN, routes!(logout))
        .add(SIGNED_IN, routes!(who))
        .add(SIGNED_IN, routes!(own_password))
        .add(READ_CHAIN, routes!(list))
        .add(OWNER, routes!(add))
        .add(OWNER, routes!(disable))
        .add(OWNER, routes!(set_password))
        .add(READ_CHAIN, routes!(sessions))
        .add(OWNER, routes!(end_session))
}

/// The name of a person or machine, as it is stored.
pub(super) fn checked_account(name: &str) -> Result<String, ApiError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_name = name.starts_with(plain)
        && name.chars().count() <= ACCOUNT_CHARS_MAX
        && name.chars().all(|c| plain(c) || ".-_@".contains(c));
    if !is_name || name == Caller::OPERATOR.name() {
        let detail = format!(
            "a name has 1 to {ACCOUNT_CHARS_MAX} small letters, digits and `.`, `-`, `_`, `@`, a \
             letter or digit first, and is not `operator`"
        );
        return Err(ApiError::new(Code::Invalid, detail));
    }
    Ok(name.to_owned())
}

/// The shop of a role: a shop manager has one, nobody else.
pub(super) async fn checked_shop(
    hub: &Hub,
    role: Role,
    named: Option<String>,
) -> Result<Option<ShopId>, ApiError> {
    match (role, named) {
        (Role::ShopManager, Some(named)) => {
            super::conflicts::shop_named(hub, named).await.map(Some)
        }
        (Role::ShopManager, None) => Err(ApiError::new(
            Code::Invalid,
            "a shop manager manages a shop: name it",
        )),
        (Role::Owner | Role::Support, None) => Ok(None),
        (Role::Owner | Role::Support, Some(_)) => {
            let detail = format!("the role {} is for all shops: name none", role.name());
            Err(ApiError::new(Code::Invalid, detail))
        }
    }
}

async fn hashed(hub: &Hub, password: String) -> Result<String, ApiError> {
    if !(PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&password.len()) {
        let detail = format!("a password has {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes");
        return Err(ApiError::new(Code::Invalid, detail));
    }
    let random = Arc::clone(&hub.env.random);
    let hash = move || hashes::hash(&password, &*random);
    let hashed = hub.env.execution.blocking(hash).await;
    hashed.map_err(|error| ApiError::internal(&error))
}

fn wrong() -> ApiError {
    ApiError::new(Code::Unauthorized, "the name or the password is wrong")
        .hint("an owner sets another one: `counterfoil-hub user password NAME`")
}

/// Checks a password, one at a time, and counts wrong ones. Gives the right one as it is stored: an owner may set
/// another one before it has served, and then it counts for nothing.
async fn check(hub: &Hub, name: &str, password: String) -> Result<String, ApiError> {
    let Ok(_place) = hub.sign_ins.try_acquire() else {
        let detail = "too many are signing in at the moment";
        return Err(ApiError::new(Code::Busy, detail).hint("try again in a moment"));
    };
    let _turn = hub.sign_in.lock().await;
    let asked = name.to_owned();
    let known = hub
        .lookups
        .call(move |reader| reader.sign_in(&asked))
        .await?;
    let now_ms = hub.now_ms();
    if known.locked_until_ms > now_ms {
        hub.log_access(name, SIGN_IN, "locked").await;
        return Err(locked(known.locked_until_ms - now_ms));
    }
    let (stored, disabled) = (known.password, known.disabled);
    let hash = stored.clone();
    let right = move || hashes::is_right(&password, hash.as_deref());
    let is_right = hub.env.execution.blocking(right).await;
    if let Some(stored) = stored.filter(|_| is_right && !disabled) {
        return Ok(stored);
    }
    let tried = name.to_owned();
    let until_ms = hub
        .writer
        .call(move |store| store.sign_in_failed(&tried, now_ms))
        .await?;
    tracing::warn!(name, "a wrong password");
    hub.log_access(name, SIGN_IN, "wrong password").await;
    if until_ms > now_ms {
        let detail = format!("{name} gave wrong passwords and is locked");
        hub.alert("sign_in_locked", None, &detail).await;
    }
    Err(wrong())
}

fn locked(wait_ms: i64) -> ApiError {
    let seconds = wait_ms.saturating_add(999).div_euclid(1_000);
    let detail = "too many wrong passwords: this name is locked for a while";
    ApiError::new(Code::TooManyAttempts, detail).hint(format!("try again in {seconds} seconds"))
}

/// Signs a person in.
#[utoipa::path(
    post,
    path = "/v1/login",
    tag = "access",
    request_body = LoginRequest,
    responses((status = 200, body = LoggedIn)),
)]
async fn login(State(hub): Hubs, headers: HeaderMap, body: Body) -> Answer<LoggedIn> {
    let LoginRequest { name, password } = read_json(&headers, body).await?;
    // A name that nobody can have is not remembered.
    let name = checked_account(&name).map_err(|_| wrong())?;
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(wrong());
    }
    let password = check(&hub, &name, password).await?;
    let token = format!("cfs_{}", secrets::secret(&*hub.env.random));
    let new = NewSession {
        user: name.clone(),
        password,
        token_hash: secrets::hash(&token),
        now_ms: hub.now_ms(),
    };
    let begun = hub
        .writer
        .call(move |store| store.begin_session(&new))
        .await?;
    let (number, expires_ms) = begun.ok_or_else(wrong)?;
    let hash = secrets::hash(&token);
    let known = hub
        .lookups
        .call(move |reader| reader.known_token(&hash))
        .await?;
    let role = known.ok_or_else(wrong)?.role;
    tracing::info!(name, session = number, "signed in");
    hub.log_access(&name, SIGN_IN, "let in").await;
    Ok(Json(LoggedIn {
        token,
        name,
        role,
        expires_ms,
    }))
}

/// The session of a caller; machines and the operator have none.
fn session(caller: &Caller) -> Result<(String, i64), ApiError> {
    match &caller.account {
        Some(Account::User { name, session }) => Ok((name.clone(), *session)),
        Some(Account::Machine { .. }) | None => Err(ApiError::new(
            Code::Invalid,
            "this is for people who signed in",
        )),
    }
}

/// Ends the session of the caller.
#[utoipa::path(
    post,
    path = "/v1/logout",
    tag = "access",
    responses((status = 200, body = Object)),
)]
async fn logout(State(hub): Hubs, caller: Caller) -> Answer<Value> {
    let (name, number) = session(&caller)?;
    hub.writer
        .call(move |store| store.end_session(number))
        .await?;
    tracing::info!(name, session = number, "signed out");
    Ok(Json(json!({})))
}

/// Says who the caller is.
#[utoipa::path(
    get,
    path = "/v1/session",
    tag = "access",
    responses((status = 200, body = WhoAnswer)),
)]
async fn who(caller: Caller) -> Json<WhoAnswer> {
    Json(WhoAnswer {
        name: caller.name(),
        role: caller.role,
        shop_id: caller.shop,
    })
}

/// Gives the caller another password, and ends the other sessions.
#[utoipa::path(
    post,
    path = "/v1/password",
    tag = "access",
    request_body = PasswordRequest,
    responses((status = 200, body = Object)),
)]
async fn own_password(
    State(hub): Hubs,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Answer<Value> {
    let (name, session) = session(&caller)?;
    let PasswordRequest { current, new } = read_json(&headers, body).await?;
    let change = PasswordChange {
        current: check(&hub, &name, current).await?,
        new: hashed(&hub, new).await?,
        user: name.clone(),
        session,
    };
    let (by, now_ms) = (caller.name(), hub.now_ms());
    let set = hub
        .writer
        .call(move |store| store.change_password(&change, (&by, now_ms)))
        .await?;
    tracing::info!(name, set, "password changed");
    if set {
        return Ok(Json(json!({})));
    }
    let detail = "meanwhile this access was ended, or another password set";
    Err(ApiError::new(Code::Unauthorized, detail).hint("sign in again"))
}

fn nobody(name: &str) -> ApiError {
    ApiError::new(Code::NotFound, format!("there is no user `{name}`"))
        .hint("`counterfoil-hub user list` shows the names")
}

/// Lists the people who may sign in.
#[utoipa::path(
    get,
    path = "/v1/admin/users",
    tag = "access",
    responses((status = 200, body = Vec<UserRow>)),
)]
async fn list(State(hub): Hubs) -> Answer<Vec<UserRow>> {
    Ok(Json(hub.reports.call(|reader| reader.users()).await?))
}

/// One row of the list.
async fn row(hub: &Hub, name: &str) -> Answer<UserRow> {
    let rows = hub.reports.call(|reader| reader.users()).await?;
    let row = rows.into_iter().find(|row| row.name == name);
    Ok(Json(row.ok_or_else(|| nobody(name))?))
}

/// Adds a person who may sign in.
#[utoipa::path(
    post,
    path = "/v1/admin/users",
    tag = "access",
    request_body = UserAddRequest,
    responses((status = 200, body = UserRow)),
)]
async fn add(State(hub): Hubs, caller: Caller, headers: HeaderMap, body: Body) -> Answer<UserRow> {
    let request: UserAddRequest = read_json(&headers, body).await?;
    let name = checked_account(&request.name)?;
    let new = NewUser {
        name: name.clone(),
        role: request.role,
        shop: checked_shop(&hub, request.role, request.shop).await?,
        password: hashed(&hub, request.password).await?,
    };
    let (by, now_ms) = (caller.name(), hub.now_ms());
    let added = hub
        .writer
        .call(move |store| store.add_user(&new, (&by, now_ms)))
        .await?;
    if !added {
        let detail = format!("there is a user `{name}` already");
        return Err(ApiError::new(Code::Conflict, detail).hint(format!(
            "for another password: `counterfoil-hub user password {name}`"
        )));
    }
    tracing::info!(name, role = request.role.name(), "user added");
    row(&hub, &name).await
}

/// Takes a person's access back, and ends their sessions.
#[utoipa::path(
    post,
    path = "/v1/admin/users/{user}/disable",
    tag = "access",
    responses((status = 200, body = UserRow)),
)]
async fn disable(State(hub): Hubs, caller: Caller, segments: Segments) -> Answer<UserRow> {
    let (name, by, now_ms) = (
        segments.text("user").to_owned(),
        caller.name(),
        hub.now_ms(),
    );
    let of = name.clone();
    let found = hub
        .writer
        .call(move |store| store.disable_user(&of, (&by, now_ms)))
        .await?;
    if !found {
        return Err(nobody(&name));
    }
    tracing::info!(name, "user disabled");
    row(&hub, &name).await
}

/// Sets a person's password, and ends their sessions.
#[utoipa::path(
    post,
    path = "/v1/admin/users/{user}/password",
    tag = "access",
    request_body = UserPasswordRequest,
    responses((status = 200, body = UserRow)),
)]
async fn set_password(
    State(hub): Hubs,
    caller: Caller,
    segments: Segments,
    headers: HeaderMap,
    body: Body,
) -> Answer<UserRow> {
    let UserPasswordRequest { password } = read_json(&headers, body).await?;
    let name = segments.text("user").to_owned();
    let (password, now_ms) = (hashed(&hub, password).await?, hub.now_ms());
    let (of, by) = (name.clone(), caller.name());
    let set = hub
        .writer
        .call(move |store| store.set_password(&of, &password, (&by, now_ms)))
        .await?;
    tracing::info!(name, set, "password set");
    row(&hub, &name).await
}

/// Lists who is signed in.
#[utoipa::path(
    get,
    path = "/v1/admin/sessions",
    tag = "access",
    responses((status = 200, body = Vec<SessionRow>)),
)]
async fn sessions(State(hub): Hubs) -> Answer<Vec<SessionRow>> {
    let now_ms = hub.now_ms();
    let rows = hub.reports.call(move |reader| reader.sessions(now_ms));
    Ok(Json(rows.await?))
}

/// Ends a session.
#[utoipa::path(
    post,
    path = "/v1/admin/sessions/{session}/revoke",
    tag = "access",
    responses((status = 200, body = Object)),
)]
async fn end_session(State(hub): Hubs, caller: Caller, segments: Segments) -> Answer<Value> {
    let named = segments.text("session");
    let missing = || {
        ApiError::new(Code::NotFound, format!("there is no session {named}"))
            .hint("`counterfoil-hub session list` shows the numbers")
    };
    let number: i64 = named.parse().map_err(|_| missing())?;
    let (by, now_ms) = (caller.name(), hub.now_ms());
    let ended = hub
        .writer
        .call(move |store| store.revoke_session(number, (&by, now_ms)));
    if !ended.await? {
        return Err(missing());
    }
    tracing::info!(session = number, "session ended by an owner");
    Ok(Json(json!({})))
}
