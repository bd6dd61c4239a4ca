//! The description of the API (OpenAPI 3.1), made from the handlers and the types they read and write.

use axum::Json;
use counterfoil_protocol::openapi;
use utoipa::openapi::OpenApi;

/// Describes every call of the hub, as one JSON document.
pub(crate) fn description() -> String {
    openapi::to_text(&described())
}

fn described() -> OpenApi {
    let gathered = super::calls().into_description();
    openapi::finished(gathered, "Counterfoil hub", SEGMENTS)
}

/// What the named parts of an address are.
const SEGMENTS: &[(&str, &str)] = &[
    ("alert", "Number of the alert"),
    (
        "columns",
        "Names of columns, joined by commas; `*` for those that have no policy of their own",
    ),
    ("conflict", "Number of the conflict"),
    ("database", "Name of the free-standing database"),
    ("employee", "Id of the employee"),
    ("end", "Frame or page behind the last one"),
    ("frame", "Number of a frame"),
    ("generation", "Number of the generation"),
    ("machine", "Name of the machine"),
    ("node", "Id of the node"),
    ("row", "Id of the row"),
    ("seq", "Position in the node's journal"),
    ("session", "Number of the session"),
    ("start", "First frame or page"),
    ("table", "Name of a catalog table"),
    ("user", "Name of the person"),
];

/// Describes this API in the form of OpenAPI 3.1.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "status", responses((status = 200, body = Object)))]
pub(super) async fn openapi() -> Json<OpenApi> {
    Json(described())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_description_in_docs_is_whole_and_of_this_code() {
        counterfoil_testkit::openapi::check(
            &super::description(),
            include_str!("../../../docs/openapi-hub.json"),
            "cargo run -p counterfoil-hub -- openapi > docs/openapi-hub.json",
        );
    }
}
