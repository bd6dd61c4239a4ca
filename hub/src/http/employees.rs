//! Employees of the shops: their PINs. A PIN is hashed here and becomes an edit of the catalog, which every till has after
//! its next sync.

use super::ApiError;
use super::access::{OWNER, READ_SHOP};
use super::bodies::read_json;
use super::caller::Caller;
use super::calls::Calls;
use super::conflicts::{Asked, asked};
use super::sync::Segments;
use crate::hub::Hub;
use crate::store::{EmployeeEventFilter, HubEditError};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use counterfoil_domain::employee::{EMPLOYEES, PIN, check_pin};
use counterfoil_domain::password;
use counterfoil_protocol::problem::Code;
use counterfoil_protocol::wire::employees::{EmployeeEventRow, PinRequest, PinSet};
use http::HeaderMap;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::IntoParams;
use utoipa_axum::routes;

type Hubs = State<Arc<Hub>>;
type Answer<T> = Result<Json<T>, ApiError>;

pub(super) fn calls() -> Calls {
    Calls::new()
        .add(READ_SHOP, routes!(events))
        .add(OWNER, routes!(set_pin))
}

/// Rows of a list, when the caller does not say and at most.
const ROWS_MAX: i64 = 1_000;

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventsQuery {
    /// Only of one employee.
    employee: Option<String>,
    /// At most so many, 1 to 1000.
    limit: Option<i64>,
}

/// Lists who signed in or tried to, who approved what, and who opened a drawer without a sale, newest first.
#[utoipa::path(
    get,
    path = "/v1/admin/employee-events",
    tag = "catalog",
    params(EventsQuery),
    responses((status = 200, body = Vec<EmployeeEventRow>)),
)]
async fn events(
    State(hub): Hubs,
    caller: Caller,
    query: Asked<EventsQuery>,
) -> Answer<Vec<EmployeeEventRow>> {
    let EventsQuery { employee, limit } = asked(query)?;
    let limit = limit.unwrap_or(ROWS_MAX);
    if !(1..=ROWS_MAX).contains(&limit) {
        let detail = format!("`limit` is 1 to {ROWS_MAX}");
        return Err(ApiError::new(Code::BadRequest, detail));
    }
    let filter = EmployeeEventFilter {
        shop: caller.shop,
        employee,
        limit,
    };
    let rows = hub
        .reports
        .call(move |reader| reader.employee_events(&filter));
    Ok(Json(rows.await?))
}

/// Sets the PIN of an employee, or takes it away.
#[utoipa::path(
    post,
    path = "/v1/admin/employees/{employee}/pin",
    tag = "catalog",
    request_body = PinRequest,
    responses((status = 200, body = PinSet)),
)]
async fn set_pin(
    State(hub): Hubs,
    caller: Caller,
    segments: Segments,
    headers: HeaderMap,
    body: Body,
) -> Answer<PinSet> {
    let PinRequest { pin, by } = read_json(&headers, body).await?;
    let by = caller.decides(by)?;
    if let Some(pin) = &pin {
        check_pin(pin).map_err(|error| ApiError::new(Code::Invalid, error.to_string()))?;
    }
    let employee = segments.text("employee").trim().to_owned();
    let id = employee.clone();
    let known = hub
        .lookups
        .call(move |reader| reader.catalog_row(EMPLOYEES, &id))
        .await?;
    if known.is_none() {
        let detail = format!("there is no employee {employee}");
        return Err(ApiError::new(Code::NotFound, detail).hint(format!(
            "`counterfoil-hub catalog set employees {employee} name=NAME` adds one"
        )));
    }
    let is_set = pin.is_some();
    let hash = match pin {
        Some(pin) => Some(hashed(&hub, pin).await?),
        None => None,
    };
    let columns = BTreeMap::from([(PIN.to_owned(), hash)]);
    let edited = hub
        .edit_catalog(EMPLOYEES.to_owned(), employee.clone(), columns, by)
        .await?;
    match edited {
        Ok(_) => Ok(Json(PinSet {
            employee,
            pin: is_set,
        })),
        Err(HubEditError::NoTable) => Err(ApiError::new(
            Code::NotFound,
            "the catalog has no employees",
        )),
        Err(HubEditError::Refused(reason)) => Err(ApiError::new(Code::Invalid, reason)),
    }
}

/// One at a time, beside those who sign in.
async fn hashed(hub: &Hub, pin: String) -> Result<String, ApiError> {
    let _turn = hub.sign_in.lock().await;
    let random = Arc::clone(&hub.env.random);
    let hash = move || password::hash(&pin, &*random);
    let hashed = hub.env.execution.blocking(hash).await;
    hashed.map_err(|error| ApiError::internal(&error))
}
