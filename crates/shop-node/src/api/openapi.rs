//! The description of the API (OpenAPI 3.1), made from the handlers and the types they read and write.

use counterfoil_protocol::openapi;
use utoipa::openapi::OpenApi;

/// What the named parts of an address are.
const SEGMENTS: &[(&str, &str)] = &[
    ("conflict", "Number of the conflict"),
    ("id", "Id of the row"),
    ("table", "Name of a catalog table"),
];

/// Describes every call of a node, as one JSON document.
pub fn description() -> String {
    openapi::to_text(&described())
}

fn described() -> OpenApi {
    let gathered = super::calls().into_openapi();
    openapi::finished(gathered, "Counterfoil node", SEGMENTS)
}

/// Describes this API in the form of OpenAPI 3.1.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "status", responses((status = 200, body = Object)))]
pub(super) async fn openapi() -> axum::Json<OpenApi> {
    axum::Json(described())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_description_in_docs_is_whole_and_of_this_code() {
        counterfoil_testkit::openapi::check(
            &super::description(),
            include_str!("../../../../docs/openapi-node.json"),
            "cargo run -p counterfoil-shop-node -- openapi > docs/openapi-node.json",
        );
    }
}
